import fs from 'node:fs';
import path from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { openStateDict, safetensorsBytes } from '../../src/containers/index.js';
import { planConversion } from '../../src/convert.js';
import { detectLayout } from '../../src/detect.js';
import { byteLength, DTYPES } from '../../src/dtype.js';
import { FormatError } from '../../src/errors.js';
import { LAYOUTS, targetIds } from '../../src/layouts/index.js';
import { LEAVES } from '../../src/layouts/leaves.js';
import { soloInput } from '../../src/load.js';
import type { StateDict } from '../../src/state-dict.js';
import { bytesTensor, type Tensor } from '../../src/tensor.js';
import { isWellFormed } from '../../src/utf8-order.js';
import { writePlannedFile } from '../../src/write.js';

/**
 * Whatever the bytes, reading, detecting, decoding and planning end in a result or in our typed error, soon.
 * `FUZZ_RUNS` is the number of cases over all properties: 20,000 in the test command, a million in `npm run fuzz:nightly`.
 */
const RUNS = Number(process.env['FUZZ_RUNS'] ?? 20_000);
/** The longest that one case may take; a hang or an explosion shows as seconds. */
const MAX_CASE_MS = 5_000;
/** The most that the heap may have grown after one case. */
const MAX_CASE_HEAP = 512 * 1024 * 1024;

const FIXTURES = path.resolve(import.meta.dirname, '../../../../fixtures');

/** Valid files to mutate: small ones only, so that a mutation hits structure and not weights. */
function seeds(): { name: string; bytes: Uint8Array }[] {
	const found: { name: string; bytes: Uint8Array }[] = [];
	for (const folder of ['safetensors', 'torch']) {
		for (const name of fs.readdirSync(path.join(FIXTURES, folder)).sort()) {
			if (!/\.(safetensors|pt|bin|ckpt)$/.test(name)) continue;
			const bytes = new Uint8Array(fs.readFileSync(path.join(FIXTURES, folder, name)));
			if (bytes.byteLength <= 24_000) found.push({ name, bytes });
		}
	}
	return found;
}

const SEEDS = seeds();

/** One edit of a file. Offsets are fractions, so that they shrink well and hit every part. */
type Edit =
	| { readonly kind: 'flip'; readonly at: number; readonly bit: number }
	| { readonly kind: 'set'; readonly at: number; readonly value: number }
	| { readonly kind: 'cut'; readonly at: number }
	| { readonly kind: 'remove'; readonly at: number; readonly length: number }
	| { readonly kind: 'repeat'; readonly at: number; readonly length: number }
	| { readonly kind: 'insert'; readonly at: number; readonly bytes: Uint8Array };

const at = fc.double({ min: 0, max: 1, noNaN: true });
const edit: fc.Arbitrary<Edit> = fc.oneof(
	fc.record({ kind: fc.constant('flip' as const), at, bit: fc.integer({ min: 0, max: 7 }) }),
	fc.record({ kind: fc.constant('set' as const), at, value: fc.constantFrom(0, 1, 0x7f, 0x80, 0xff, 0x2e, 0x28, 0x52, 0x22, 0x7b) }),
	fc.record({ kind: fc.constant('cut' as const), at }),
	fc.record({ kind: fc.constant('remove' as const), at, length: fc.integer({ min: 1, max: 64 }) }),
	fc.record({ kind: fc.constant('repeat' as const), at, length: fc.integer({ min: 1, max: 64 }) }),
	fc.record({ kind: fc.constant('insert' as const), at, bytes: fc.uint8Array({ minLength: 1, maxLength: 16 }) }),
);

function apply(bytes: Uint8Array, edits: readonly Edit[]): Uint8Array {
	let out = bytes;
	for (const e of edits) {
		const i = Math.min(Math.floor(e.at * out.byteLength), Math.max(0, out.byteLength - 1));
		if (e.kind === 'cut') out = out.slice(0, i);
		else if (e.kind === 'remove') out = concat(out.slice(0, i), out.slice(i + e.length));
		else if (e.kind === 'repeat') out = concat(out.slice(0, i + e.length), out.slice(i));
		else if (e.kind === 'insert') out = concat(out.slice(0, i), e.bytes, out.slice(i));
		else if (out.byteLength > 0) {
			out = out.slice();
			out[i] = e.kind === 'set' ? e.value : (out[i] ?? 0) ^ (1 << e.bit);
		}
	}
	return out;
}

function concat(...parts: readonly Uint8Array[]): Uint8Array {
	const out = new Uint8Array(parts.reduce((n, p) => n + p.byteLength, 0));
	let done = 0;
	for (const part of parts) {
		out.set(part, done);
		done += part.byteLength;
	}
	return out;
}

/** Read and go as far as a conversion; every way out but a result or a FormatError fails the property. */
async function exercise(bytes: Uint8Array, name: string): Promise<void> {
	const began = performance.now();
	const heap = process.memoryUsage().heapUsed;
	try {
		const state = await openStateDict(bytesSource(bytes, name));
		await further(state);
	} catch (error) {
		if (!(error instanceof FormatError)) throw error;
		expect(error.message.length).toBeGreaterThan(10);
	}
	expect(performance.now() - began).toBeLessThan(MAX_CASE_MS);
	expect(process.memoryUsage().heapUsed - heap).toBeLessThan(MAX_CASE_HEAP);
}

async function further(state: StateDict): Promise<void> {
	const input = soloInput(state);
	detectLayout(input);
	for (const to of ['keep', 'diffusers', 'kohya']) {
		try {
			const plan = planConversion(input, { to, allowLoss: true });
			for (const file of plan.files) await writePlannedFile(file, { write() {} });
		} catch (error) {
			if (!(error instanceof FormatError)) throw error;
		}
	}
}

describe('any bytes give a result or our typed error', () => {
	test('random bytes', async () => {
		await fc.assert(fc.asyncProperty(fc.uint8Array({ maxLength: 512 }), fc.constantFrom('a.safetensors', 'a.pt', 'a.bin', 'a'), exercise), {
			numRuns: Math.ceil(RUNS * 0.2),
		});
	}, 0);

	test('mutations of valid files', async () => {
		expect(SEEDS.length).toBeGreaterThan(10);
		await fc.assert(
			fc.asyncProperty(fc.constantFrom(...SEEDS), fc.array(edit, { minLength: 1, maxLength: 6 }), async (seed, edits) =>
				exercise(apply(seed.bytes, edits), seed.name),
			),
			{ numRuns: Math.ceil(RUNS * 0.6) },
		);
	}, 0);
});

const moduleName = fc.constantFrom(
	'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q',
	'lora_te_text_model_encoder_layers_0_self_attn_q_proj',
	'lora_unet_double_blocks_0_img_attn_qkv',
	'unet.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q',
	'text_encoder.text_model.encoder.layers.0.self_attn.k_proj',
	'base_model.model.down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_k',
	'down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_out',
	'diffusion_model.blocks.0.self_attn.q',
	'transformer.single_transformer_blocks.3.proj_mlp',
	'lycoris_transformer_blocks_7_attn_to_v',
	'__proto__',
	'',
);
const key = fc.oneof(
	{ weight: 8, arbitrary: fc.tuple(moduleName, fc.constantFrom(...LEAVES.map((l) => l.suffix))).map(([m, s]) => m + s) },
	{
		weight: 1,
		arbitrary: fc.constantFrom('unet:0:up', 'unet:0:down', 'unet:1:up', '0', '1', '<s1>', 'emb_params', 'bundle_emb.x.string_to_param.*'),
	},
	{ weight: 1, arbitrary: fc.string({ unit: 'binary', maxLength: 12 }).filter((s) => isWellFormed(s)) },
);
const shape = fc.array(fc.constantFrom(0, 1, 2, 3, 4, 8), { maxLength: 5 });

function tensorOf(dtype: (typeof DTYPES)[number], dims: readonly number[]): Tensor | undefined {
	const nbytes = byteLength(dtype, dims);
	return nbytes === undefined ? undefined : bytesTensor(dtype, dims, new Uint8Array(nbytes).fill(0x3c));
}

describe('any names and shapes give a result or our typed error', () => {
	test('through every layout, and every conversion accounts for every tensor', async () => {
		const entry = fc.tuple(key, fc.constantFrom(...DTYPES), shape);
		await fc.assert(
			fc.asyncProperty(
				fc.array(entry, { minLength: 1, maxLength: 8 }),
				fc.dictionary(
					fc.constantFrom('format', 'ss_network_dim', 'lora_adapter_metadata', 'unet', 'unet:0:rank', 'lorakit.form'),
					fc.string({ maxLength: 20 }).filter((s) => isWellFormed(s)),
				),
				fc.constantFrom(...targetIds()),
				fc.constantFrom(...LAYOUTS.map((l) => l.id), undefined),
				async (entries, metadata, to, from) => {
					const tensors = new Map<string, Tensor>();
					for (const [name, dtype, dims] of entries) {
						const tensor = tensorOf(dtype, dims);
						if (tensor !== undefined) tensors.set(name, tensor);
					}
					const bytes = await safetensorsBytes(tensors, new Map(Object.entries(metadata)));
					const began = performance.now();
					try {
						const state = await openStateDict(bytesSource(bytes, 'a.safetensors'));
						const plan = planConversion(soloInput(state), { to, from, allowLoss: true });
						const { tensors: counts } = plan.receipt.counts;
						expect(counts.total).toBe(state.tensors.size);
						expect(counts.carried + counts.renamed + counts.transformed + counts.lost).toBe(counts.total);
						for (const file of plan.files) await writePlannedFile(file, { write() {} });
					} catch (error) {
						if (!(error instanceof FormatError)) throw error;
					}
					expect(performance.now() - began).toBeLessThan(MAX_CASE_MS);
				},
			),
			{ numRuns: Math.ceil(RUNS * 0.2) },
		);
	}, 0);
});
