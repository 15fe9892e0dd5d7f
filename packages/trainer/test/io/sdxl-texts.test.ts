import { readFileSync } from 'node:fs';
import path from 'node:path';
import { bytesSource, decodeFloats, readSafetensors } from '@lorakit/format';
import { type Base, type ClipTokenizer, timestepFeatures } from '@lorakit/runtime';
import { createOnnxEngine } from '@lorakit/runtime/engines/onnx';
import { openBase, openTokenizers } from '@lorakit/runtime/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createMemoryCache } from '../../src/data/cache-tensors.js';
import { frozenTexts, tokenTexts } from '../../src/io/train/batch-texts.js';
import { learnedToken } from '../../src/io/train/learned-token.js';
import { createDiffusionBatches } from '../../src/run/diffusion-batches.js';
import type { ExampleSource } from '../../src/run/example-source.js';
import { createRandomStreams } from '../../src/run/random-streams.js';
import { validationBatches } from '../../src/run/validation-batches.js';
import { apart } from '../gradients/support.js';

/** Ids, states and pooled states by transformers and diffusers' encode_prompt: scripts/reference/make-sdxl-training-references.py. */
const ROOT = path.resolve(import.meta.dirname, '../../../../fixtures/training/sdxl');
const { prompts } = JSON.parse(readFileSync(path.join(ROOT, 'manifest.json'), 'utf8')) as { readonly prompts: readonly string[] };
const SIZES = [
	[512, 768, 0, 37, 128, 128],
	[1080, 1920, 3, 0, 96, 160],
	[64, 64, 0, 0, 64, 64],
	[200, 131, 44, 0, 128, 128],
];

let base: Base;
let tokenizers: readonly ClipTokenizer[];
const torch = new Map<string, Float64Array>();
beforeAll(async () => {
	base = await openBase(path.join(ROOT, 'base'));
	tokenizers = await openTokenizers(base, undefined, 'tokenizer');
	const { tensors } = await readSafetensors(bytesSource(new Uint8Array(readFileSync(path.join(ROOT, 'inputs.safetensors')))));
	for (const [name, tensor] of tensors) {
		const bytes = await tensor.read();
		const whole = tensor.dtype === 'I64';
		torch.set(
			name,
			whole ? Float64Array.from(new BigInt64Array(bytes.slice().buffer), Number) : Float64Array.from(decodeFloats(tensor.dtype, bytes)),
		);
	}
});
afterAll(() => base.close());

describe('captions for SDXL', () => {
	it.each([false, true])(
		'have the states of both text encoders, the pooled state and the sizes of each picture (cached: %s)',
		async (cached) => {
			const engine = await createOnnxEngine({ threads: 1 });
			const texts = await frozenTexts(base, engine, tokenizers, cached ? createMemoryCache(1e8) : undefined, new Map());
			// The second time from what was kept, and with other sizes.
			await texts.batch(prompts.slice(0, 4), [...SIZES].reverse());
			const text = await texts.batch(prompts.slice(0, 4), SIZES);
			await texts.release();
			if ('ids' in text) throw new Error('ids of frozen text encoders');
			expect(text.states.shape).toEqual([4, 77, 20]);
			// float32 of three layers.
			expect(apart(text.states.data, torch.get('states'))).toBeLessThan(1e-5);
			expect(text.added?.shape).toEqual([4, 58]);
			for (const [row, sizes] of SIZES.entries()) {
				const added = text.added?.data.subarray(row * 58, (row + 1) * 58) ?? new Float32Array();
				expect(apart(added.subarray(0, 10), torch.get('pooled')?.subarray(row * 10, (row + 1) * 10))).toBeLessThan(1e-5);
				expect([...added.subarray(10)]).toEqual([...timestepFeatures(sizes, 8, base.unet)]);
			}
		},
	);

	it('have the ids of both tokenizers, a learned token among them, where they are trained', async () => {
		const token = { placeholder_token: '<new>', initializer_token: 'square', num_vectors: 1 };
		const learned = await learnedToken(base, tokenizers, {
			...token,
			learnable_property: 'object',
			templates: null,
			norm_prior: false,
			norm_prior_target: 0.4,
		});
		const text = await tokenTexts(learned.tokenizers).batch(prompts.slice(0, 6), [...SIZES, ...SIZES.slice(0, 2)]);
		if (!('ids' in text)) throw new Error('no ids');
		expect(text.ids.flat()).toEqual([...(torch.get('ids')?.subarray(0, 6 * 77) ?? [])]);
		expect(text.ids2?.flat()).toEqual([...(torch.get('ids2')?.subarray(0, 6 * 77) ?? [])]);
		expect(text.timeIds?.[5]).toEqual(SIZES[1]);
		expect(learned.rows.map(({ name, shape }) => [name, shape])).toEqual([
			['added_rows', [1, 8]],
			['text_encoder_2.added_rows', [1, 12]],
		]);
	});
});

describe('sizes on their way into a batch', () => {
	/** Latents of one number, told of sizes by which each picture is known. */
	const source = (name: string, count: number, from: number): ExampleSource => ({
		examples: Array.from({ length: count }, (_, i) => ({ name: `${name}${i}`, bucket: '8x8', captions: [`${name} ${i}`] })),
		latents: async (index) => ({ shape: [1, 1, 1], mean: Float32Array.of(0), timeIds: [from + index, 1, 2, 3, 4, 5] }),
	});
	const noise = { minTimestep: 0, maxTimestep: 1000, noiseOffset: 0, scalingFactor: 1 };

	it('each caption stands with its own, class pictures too', async () => {
		const told: (readonly [string, number | undefined])[][] = [];
		const batches = createDiffusionBatches({
			examples: source('dog', 3, 100),
			batchSize: 2,
			streams: createRandomStreams(1),
			prior: { examples: source('class', 2, 200), weight: 1 },
			text: async (captions, timeIds) => {
				told.push(captions.map((caption, i) => [caption, timeIds?.[i]?.[0]] as const));
				return { ids: captions.map(() => [0]) };
			},
			...noise,
		});
		for (let i = 0; i < 4; i++) await batches.next();
		const pairs = told.flat();
		expect(pairs.length).toBeGreaterThan(10);
		for (const [caption, first] of pairs) {
			const [kind, index] = caption.split(' ');
			expect(first).toBe((kind === 'dog' ? 100 : 200) + Number(index));
		}
	});

	it('and so do measured ones; where there are none, none are told', async () => {
		const told: unknown[] = [];
		const options = { indices: [0, 2], draws: 1, batchSize: 2, seed: 0, ...noise };
		const text = async (captions: readonly string[], timeIds: unknown) => {
			told.push(timeIds);
			return { ids: captions.map(() => [0]) };
		};
		for await (const _ of validationBatches({ ...options, examples: source('a', 3, 100), text }));
		const plain: ExampleSource = { ...source('a', 3, 0), latents: async () => ({ shape: [1, 1, 1], mean: Float32Array.of(0) }) };
		for await (const _ of validationBatches({ ...options, examples: plain, text }));
		expect(told).toEqual([
			[
				[100, 1, 2, 3, 4, 5],
				[102, 1, 2, 3, 4, 5],
			],
			undefined,
		]);
	});
});
