import fs from 'node:fs';
import path from 'node:path';
import { embeddingsAsAdapter, FormatError, loadInput } from '@lorakit/format';
import { openFileSource } from '@lorakit/format/node';
import sharp from 'sharp';
import { beforeAll, describe, expect, test, vi } from 'vitest';
import { planTraining } from '../../src/io/plan-training.js';
import { drawPictures } from '../../src/io/train/draw-pictures.js';
import type { TrainHooks } from '../../src/io/train/hooks.js';
import { openTrainingBase } from '../../src/io/train/training-base.js';
import { openTrainingEngine } from '../../src/io/train/training-engine.js';
import { type TrainOptions, trainFromConfig } from '../../src/io/train.js';
import { parseRunConfig } from '../../src/run/config/parse-run-config.js';
import type { Objective, RunConfig } from '../../src/run/config/run-config.js';
import type { RunEvent } from '../../src/run/run-events.js';
import { tempDir } from './result/result-support.js';

/** A tiny SDXL with random weights: scripts/reference/make-sdxl-training-references.py. */
const BASE = path.resolve(import.meta.dirname, '../../../../fixtures/training/sdxl/base');
type Document = Readonly<Record<string, unknown>>;

let pictures: string;
beforeAll(async () => {
	// For all tests of this file.
	pictures = fs.mkdtempSync(path.join(process.env['TMPDIR'] ?? '/tmp', 'lorakit-sdxl-'));
	const lines: string[] = [];
	for (const [i, [width, height]] of [
		[64, 64],
		[96, 64],
		[64, 110],
		[200, 131],
	].entries()) {
		const data = Uint8Array.from({ length: (width ?? 0) * (height ?? 0) * 3 }, (_, k) => (k * (i + 3) + Math.floor(k / 90) * 11) % 256);
		await sharp(data, { raw: { width: width ?? 0, height: height ?? 0, channels: 3 } })
			.png()
			.toFile(path.join(pictures, `${i}.png`));
		lines.push(JSON.stringify({ file_name: `${i}.png`, text: `a large <bar> square number ${i}, striped` }));
	}
	fs.writeFileSync(path.join(pictures, 'metadata.jsonl'), lines.join('\n'));
	return () => fs.rmSync(pictures, { recursive: true, force: true });
});

function configOf(objective: Objective, folder: string, more: Document = {}): RunConfig {
	const document: Document = {
		base: BASE,
		seed: 5,
		data: { path: pictures },
		images: { resolution: 64 },
		train: { max_train_steps: 3, train_batch_size: 2, learning_rate: 1e-2 },
		engine: { threads: 1 },
		output: { folder },
		...more,
	};
	return parseRunConfig(document, objective, { name: 'the test' });
}

const TOKEN = { token: { placeholder_token: '<bar>', initializer_token: 'square' } };
const BUCKETS = { enabled: true, step: 8, min: 32, max: 128 };

function options(objective: Objective, more: Partial<TrainOptions> = {}): TrainOptions {
	return { objective, version: '0.1.0', ...more };
}

function listening(more: TrainHooks = {}) {
	const events: RunEvent[] = [];
	const notes: string[] = [];
	const hooks: TrainHooks = {
		...more,
		note: (text) => notes.push(text),
		onEvent(event, phase) {
			events.push(event);
			more.onEvent?.(event, phase);
		},
	};
	return { hooks, events, notes, losses: () => events.flatMap((event) => (event.type === 'step' ? [event.loss] : [])) };
}

async function tensorsOf(
	folder: string,
	name: string,
): Promise<ReadonlyMap<string, { readonly shape: readonly number[]; readonly bytes: string }>> {
	const source = await openFileSource(path.join(folder, name));
	try {
		const { file } = await loadInput({ main: source });
		const out = new Map<string, { readonly shape: readonly number[]; readonly bytes: string }>();
		for (const [key, tensor] of file.tensors)
			out.set(key, { shape: tensor.shape, bytes: Buffer.from(await tensor.read()).toString('base64') });
		return out;
	} finally {
		await source.close();
	}
}

async function refusal(run: Promise<unknown>): Promise<FormatError> {
	const error: unknown = await run.then(
		() => undefined,
		(thrown: unknown) => thrown,
	);
	if (error instanceof FormatError) return error;
	throw new Error('no refusal', { cause: error });
}

vi.setConfig({ testTimeout: 900_000 });

describe('SDXL from a configuration to files', () => {
	test('text-to-image with text encoders, buckets, cuts at random and mirrored: with and without caches the same run', async () => {
		const root = tempDir();
		const run = async (name: string, cache: boolean) => {
			const folder = path.join(root, name, 'xl');
			const config = configOf('text-to-image', folder, {
				images: { resolution: 64, random_flip: true, buckets: BUCKETS },
				adapter: { text_encoder: 'attention', rank: 2 },
				train: { max_train_steps: 3, train_batch_size: 2, learning_rate: 1e-2, text_encoder_learning_rate: 5e-3 },
				cache: { latents: cache, text: cache },
			});
			const plan = await planTraining(config, options('text-to-image'));
			const heard = listening();
			const { saved, facts } = await trainFromConfig(config, options('text-to-image'), heard.hooks);
			expect(saved?.files[0]?.bytes).toBe(plan.files.F32.bytes);
			expect(facts.data.buckets?.length).toBeGreaterThan(2);
			expect(facts.run.learningRates).toEqual({ unet: 1e-2, text_encoder: 5e-3 });
			return { losses: heard.losses(), tensors: await tensorsOf(folder, 'pytorch_lora_weights.safetensors') };
		};
		const cached = await run('cached', true);
		expect(cached.losses).toHaveLength(3);
		expect(cached.losses.every((loss) => loss > 0 && loss < 10)).toBe(true);
		const prefixes = new Set([...cached.tensors.keys()].map((key) => key.split('.')[0]));
		expect(prefixes).toEqual(new Set(['unet', 'text_encoder', 'text_encoder_2']));
		// Attention of three layers in each text encoder, the unused last one of the first too, as diffusers' files have them.
		const layers = [...cached.tensors.keys()].filter((key) => /^text_encoder(_2)?\..*layers\.\d\.self_attn/.test(key));
		expect(layers).toHaveLength(2 * 3 * 4 * 2);
		// What was trained moved; what nothing reaches is where it began: B zero.
		const zero = [...cached.tensors]
			.filter(([key, { bytes }]) => /lora(_B|_linear_layer\.up|\.up)/.test(key) && /^A*=*$/.test(bytes))
			.map(([key]) => key);
		expect(zero.length).toBe(4);
		expect(zero.every((key) => /^text_encoder\..*layers\.2\./.test(key))).toBe(true);
		const plain = await run('plain', false);
		expect(plain.losses).toEqual(cached.losses);
		expect(plain.tensors).toEqual(cached.tensors);
	});

	test("dreambooth with class pictures, text encoders, in kohya's layout", async () => {
		const folder = path.join(tempDir(), 'xl');
		const config = configOf('dreambooth', folder, {
			data: { path: pictures, instance_prompt: 'a zqx square' },
			prior: { class_prompt: 'a square', num_class_images: 2, sample_steps: 2 },
			adapter: { text_encoder: 'attention+mlp', rank: 2 },
			train: { max_train_steps: 1, train_batch_size: 1 },
			output: { folder, layout: 'kohya' },
		});
		const plan = await planTraining(config, options('dreambooth'));
		const { saved } = await trainFromConfig(config, options('dreambooth'));
		expect(saved?.files[0]).toEqual({ path: 'xl.safetensors', bytes: plan.files.F32.bytes });
		const keys = [...(await tensorsOf(folder, 'xl.safetensors')).keys()];
		const prefixes = new Set(keys.map((key) => /^lora_(unet|te1|te2)_/.exec(key)?.[1]));
		expect(prefixes).toEqual(new Set(['unet', 'te1', 'te2']));
	});

	test.each([
		[1, [1, 8], [1, 12]],
		[2, [2, 8], [2, 12]],
	])('textual inversion of %s vectors: one file for both text encoders, and others stay', async (vectors, first, second) => {
		const folder = path.join(tempDir(), 'xl');
		const config = configOf('textual-inversion', folder, {
			token: { ...TOKEN.token, num_vectors: vectors },
			validation: { every: 3, prompts: ['a <bar> square'], num_validation_images: 1, sample_steps: 2 },
		});
		const plan = await planTraining(config, options('textual-inversion'));
		expect(plan.parameters).toEqual({ tokens: 20 * vectors, total: 20 * vectors });
		const heard = listening();
		const { saved } = await trainFromConfig(config, options('textual-inversion'), heard.hooks);
		expect(saved?.files.map((file) => file.path)).toEqual(['learned_embeds.safetensors', 'README.md', 'training.json', 'samples/00.png']);
		const tensors = await tensorsOf(folder, 'learned_embeds.safetensors');
		expect([...tensors].map(([key, { shape }]) => [key, shape])).toEqual([
			['clip_g', second],
			['clip_l', first],
		]);
		expect(fs.readFileSync(path.join(folder, 'README.md'), 'utf8')).toContain('vectors["clip_g"]');

		// What the files say is what was trained: the picture of the last step, drawn from the file, is that of the validation to the byte.
		const shown = heard.events.flatMap((event) => (event.type === 'pictures' ? [event.pictures[0]] : []));
		const { base, tokenizers } = await openTrainingBase(config, undefined, {});
		const { engine } = await openTrainingEngine(config.engine);
		const main = await openFileSource(path.join(folder, 'learned_embeds.safetensors'));
		const adapter = embeddingsAsAdapter(await loadInput({ main }, { values: true }));
		const drawn = drawPictures([{ prompt: 'a <bar> square', seed: shown[0]?.seed ?? 0 }], {
			base,
			engine,
			tokenizers,
			adapter,
			steps: 2,
			guidance: 7.5,
			width: 64,
			height: 64,
		});
		let count = 0;
		for await (const { png } of drawn) {
			expect(png).toEqual(shown.at(-1)?.png);
			count++;
		}
		expect(count).toBe(1);
		await main.close();
		await base.close();
	});

	test('pivotal tuning, stopped in both phases and resumed: bit for bit as if never stopped; then gone on from', async () => {
		const root = tempDir();
		const folder = path.join(root, 'xl');
		const given = {
			...TOKEN,
			inversion: { steps: 2 },
			train: { max_train_steps: 2, train_batch_size: 1 },
			adapter: { rank: 2, text_encoder: 'attention' },
		};
		const config = configOf('pivotal', folder, given);
		const whole = listening();
		const plan = await planTraining(config, options('pivotal'));
		const { saved } = await trainFromConfig(config, options('pivotal'), whole.hooks);
		expect(saved?.files.slice(0, 2)).toEqual(plan.files.F32.files.map(({ name, bytes }) => ({ path: name, bytes })));
		expect(whole.notes.filter((note) => note.startsWith('token.norm_prior is left out'))).toHaveLength(1);
		const read = async () => [
			await tensorsOf(folder, 'pytorch_lora_weights.safetensors'),
			await tensorsOf(folder, 'learned_embeds.safetensors'),
		];
		const before = await read();
		const inverted = await tensorsOf(path.join(folder, 'inversion/checkpoint-000002'), 'learned_embeds.safetensors');
		expect([...inverted.keys()]).toEqual(['clip_g', 'clip_l']);
		expect(inverted).not.toEqual(before[1]);
		const kept = path.join(root, 'kept');
		fs.cpSync(folder, kept, { recursive: true });

		fs.rmSync(folder, { recursive: true });
		const losses: number[] = [];
		// Stopped after the first step of each phase.
		for (const [run, most] of [1, 2, Number.POSITIVE_INFINITY].entries()) {
			const stop = new AbortController();
			let steps = 0;
			const onEvent = (event: RunEvent): void => {
				if (event.type === 'step' && ++steps === most) stop.abort();
			};
			const heard = listening({ signal: stop.signal, onEvent });
			await trainFromConfig(config, options('pivotal', { resume: { from: run === 0 ? 'none' : 'newest', changed: false } }), heard.hooks);
			losses.push(...heard.losses());
		}
		expect(losses).toEqual(whole.losses());
		expect(await read()).toEqual(before);

		// A run that learns nothing writes what it began from: factors of all parts, and the rows of both text encoders.
		const again = path.join(root, 'again');
		const still = configOf('pivotal', again, {
			...given,
			adapter: { ...given.adapter, init: path.join(kept, 'pytorch_lora_weights.safetensors') },
			inversion: { steps: 1, learning_rate: 1e-30, weight_decay: 0 },
			train: {
				max_train_steps: 1,
				train_batch_size: 1,
				learning_rate: 1e-30,
				text_encoder_learning_rate: 1e-30,
				token_learning_rate: 1e-30,
			},
		});
		await trainFromConfig(still, options('pivotal'));
		expect(await tensorsOf(again, 'pytorch_lora_weights.safetensors')).toEqual(before[0]);
		expect(await tensorsOf(again, 'learned_embeds.safetensors')).toEqual(before[1]);
	});
});

describe('what is refused before anything is computed, by a dry run too', () => {
	/** The base with another UNet configuration. */
	function changed(change: Document): string {
		const folder = path.join(tempDir(), 'base');
		fs.cpSync(BASE, folder, { recursive: true });
		const file = path.join(folder, 'unet/config.json');
		fs.writeFileSync(file, JSON.stringify({ ...(JSON.parse(fs.readFileSync(file, 'utf8')) as Document), ...change }));
		return folder;
	}

	test.each<readonly [string, Document, string, RegExp, Document | undefined]>([
		['an inpainting base', {}, 'E_UNSUPPORTED_ADAPTER', /9 channels and gives 4/, { in_channels: 9 }],
		[
			'conditions of another width',
			{},
			'E_CONFIG',
			/width 52, but 10 pooled states and six time ids make 58/,
			{ projection_class_embeddings_input_dim: 52 },
		],
		['two text encoders without added conditions', {}, 'E_CONFIG', /width 0, but 10 pooled states/, { addition_embed_type: null }],
		[
			'factors that nothing reaches',
			{ adapter: { targets: null, include: ['text_encoder.text_model.encoder.layers.2.self_attn'] } },
			'E_CONFIG',
			/whose output nothing uses/,
			undefined,
		],
		['a norm that is pulled', { token: { ...TOKEN.token, norm_prior: true } }, 'E_CONFIG', /SDXL has two others; leave it out/, undefined],
		[
			'an initializer of several tokens',
			{ token: { placeholder_token: '<bar>', initializer_token: 'incomprehensibilities' } },
			'E_CONFIG',
			/tokens to this/,
			undefined,
		],
	])('%s', async (_, more, code, message, change) => {
		const folder = path.join(tempDir(), 'run');
		const objective = 'token' in more ? 'textual-inversion' : 'text-to-image';
		const config = configOf(objective, folder, { ...more, ...(change === undefined ? {} : { base: changed(change) }) });
		for (const run of [planTraining, trainFromConfig]) {
			const error = await refusal(run(config, options(objective)));
			expect(error.code).toBe(code);
			expect(error.message).toMatch(message);
		}
	});

	test('a learned token that lacks a text encoder, has one too many, or no numbers', async () => {
		const root = tempDir();
		const learned = (name: string, tensors: Readonly<Record<string, number>>, byte = 1): string => {
			const file = path.join(root, name);
			const entries = Object.entries(tensors);
			const end = (count: number): number => entries.slice(0, count).reduce((sum, [, width]) => sum + 4 * width, 0);
			const header = entries.map(([key, width], i) => [key, { dtype: 'F32', shape: [1, width], data_offsets: [end(i), end(i + 1)] }]);
			const text = Buffer.from(JSON.stringify({ __metadata__: { 'lorakit.token': '<bar>' }, ...Object.fromEntries(header) }));
			const length = Buffer.alloc(8);
			length.writeBigUInt64LE(BigInt(text.length));
			fs.writeFileSync(file, Buffer.concat([length, text, Buffer.alloc(end(entries.length), byte)]));
			return file;
		};
		const both = learned('both.safetensors', { clip_l: 8, clip_g: 12 });
		const plan = async (init: string, more: Document = {}) =>
			planTraining(
				configOf('textual-inversion', path.join(root, 'run'), { ...TOKEN, adapter: { init }, ...more }),
				options('textual-inversion'),
			);
		expect((await plan(both)).parameters.total).toBe(20);
		expect(await refusal(plan(learned('one.safetensors', { clip_l: 8 })))).toMatchObject({ code: 'E_CONFIG', at: 'text_encoder_2' });
		// Bytes of 255 are no numbers.
		const broken = learned('broken.safetensors', { clip_l: 8, clip_g: 12 }, 255);
		expect(await refusal(plan(broken))).toMatchObject({ code: 'E_NONFINITE', at: 'added_rows' });
		const first = path.resolve(BASE, '../../../runtime/tiny-shapes');
		expect(await refusal(plan(both, { base: first }))).toMatchObject({ code: 'E_CONFIG' });
	});
});
