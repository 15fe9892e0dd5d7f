import fs from 'node:fs';
import path from 'node:path';
import { decodeAdapter, FormatError, loadInput, validate } from '@lorakit/format';
import { createNodeSha256, openFileSource } from '@lorakit/format/node';
import { decodePicture, readModelCard } from '@lorakit/runtime/node';
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

const BASE = path.resolve(import.meta.dirname, '../../../../fixtures/runtime/tiny-shapes');
type Document = Readonly<Record<string, unknown>>;

let pictures: string;
let bare: string;
beforeAll(async () => {
	pictures = fs.mkdtempSync(path.join(process.env['TMPDIR'] ?? '/tmp', 'lorakit-train-'));
	bare = path.join(pictures, 'bare');
	fs.mkdirSync(bare);
	const set = path.join(pictures, 'set');
	fs.mkdirSync(set);
	const lines: string[] = [];
	// Squares and bars in different colours, one wider than high.
	for (let i = 0; i < 5; i++) {
		const [width, height] = [i === 4 ? 96 : 64, 64];
		const data = Uint8Array.from({ length: width * height * 3 }, (_, k) => {
			const x = Math.floor(k / 3) % width;
			return (x >> 3) % 2 === i % 2 ? 255 - 40 * i : (k % 3) * 90;
		});
		const png = await sharp(data, { raw: { width, height, channels: 3 } })
			.png()
			.toBuffer();
		fs.writeFileSync(path.join(set, `${i}.png`), png);
		fs.writeFileSync(path.join(bare, `${i}.png`), png);
		lines.push(JSON.stringify({ file_name: `${i}.png`, text: `a large <bar> square number ${i}, striped` }));
	}
	fs.writeFileSync(path.join(set, 'metadata.jsonl'), lines.join('\n'));
	return () => fs.rmSync(pictures, { recursive: true, force: true });
});

function configOf(objective: Objective, folder: string, more: Document = {}): RunConfig {
	const document: Record<string, unknown> = {
		base: BASE,
		seed: 5,
		data: { path: path.join(pictures, 'set') },
		images: { resolution: 64, center_crop: true },
		train: { max_train_steps: 4, train_batch_size: 2, learning_rate: 1e-3 },
		checkpoints: { every: 2 },
		engine: { threads: 1 },
		output: { folder },
		...more,
	};
	return parseRunConfig(document, objective, { name: 'the test' });
}

const TOKEN = { token: { placeholder_token: '<bar>', initializer_token: 'square' } };
const VALIDATION = { validation: { every: 4, prompts: ['a red star'], num_validation_images: 1, sample_steps: 2, held_out_fraction: 0.2 } };

function options(objective: Objective, more: Partial<TrainOptions> = {}): TrainOptions {
	return { objective, version: '0.1.0', ...more };
}

/** Events and notes of a run. */
function listening(more: TrainHooks = {}): {
	readonly hooks: TrainHooks;
	readonly events: RunEvent[];
	readonly notes: string[];
	readonly losses: () => readonly number[];
} {
	const events: RunEvent[] = [];
	const notes: string[] = [];
	return {
		hooks: {
			...more,
			note: (text) => notes.push(text),
			onEvent(event, phase) {
				events.push(event);
				more.onEvent?.(event, phase);
			},
		},
		events,
		notes,
		losses: () => events.flatMap((event) => (event.type === 'step' ? [event.loss] : [])),
	};
}

async function refusal(run: Promise<unknown>): Promise<FormatError> {
	const error: unknown = await run.then(
		() => undefined,
		(thrown: unknown) => thrown,
	);
	if (error instanceof FormatError) return error;
	throw new Error('no refusal', { cause: error });
}

/** Every tensor of a safetensors file of a folder, as bytes. */
async function tensorsOf(folder: string, name: string): Promise<Record<string, string>> {
	const source = await openFileSource(path.join(folder, name));
	try {
		const { file } = await loadInput({ main: source });
		const out: Record<string, string> = {};
		for (const [key, tensor] of file.tensors) out[key] = Buffer.from(await tensor.read()).toString('base64');
		return out;
	} finally {
		await source.close();
	}
}

// Sessions of the engine are made anew for every run; on a busy machine that takes its time.
vi.setConfig({ testTimeout: 900_000 });

describe('from a configuration to files', () => {
	test('text-to-image: what was planned is what is written, and it is sound', async () => {
		const folder = path.join(tempDir(), 'Striped squares');
		const config = configOf('text-to-image', folder, VALIDATION);
		const plan = await planTraining(config, options('text-to-image'));
		const heard = listening();
		const outcome = await trainFromConfig(config, options('text-to-image', { baseModel: 'somebody/tiny-shapes' }), heard.hooks);
		expect([outcome.reason, outcome.step, outcome.steps]).toEqual(['steps', 4, 4]);
		expect(plan.pictures).toEqual({ train: 4, classes: 0, heldOut: 1 });
		expect(plan.phases.map(({ optimizerSteps }) => optimizerSteps)).toEqual([4]);
		expect(heard.losses()).toHaveLength(4);
		expect(heard.losses().every((loss) => loss > 0 && loss < 10)).toBe(true);
		// 128 modules of rank 4 by the arithmetic of the widths, which inference reads from the base.
		expect(plan.parameters.total).toBe(outcome.plan.files.length === 1 ? 56_576 : 0);

		const main = await openFileSource(path.join(folder, 'pytorch_lora_weights.safetensors'));
		const report = await validate(await loadInput({ main }), { hasher: createNodeSha256 });
		// At 8 x 8 latents the middle block has one token, whose attention no query or key can change.
		expect([report.errors, report.warnings.map(({ code }) => code), report.modules]).toEqual([[], ['W_ZERO_UP'], 128]);
		expect(report.warnings[0]?.message).toContain('in 2 of 128 modules');
		await main.close();
		const card = readModelCard(fs.readFileSync(path.join(folder, 'README.md'), 'utf8'));
		expect(card.baseModels).toEqual(['somebody/tiny-shapes']);
		expect(card.examples).toEqual([{ text: 'a red star', picture: 'samples/00.png' }]);
		const sample = await decodePicture(new Uint8Array(fs.readFileSync(path.join(folder, 'samples/00.png'))), { name: 'sample' });
		expect([sample.width, sample.height]).toEqual([64, 64]);
		const record = JSON.parse(fs.readFileSync(path.join(folder, 'training.json'), 'utf8')) as { readonly run: { readonly steps: number } };
		expect(record).toMatchObject({ schema: 'lora.training/1', title: 'Striped squares', reason: 'steps', config: { seed: 5 } });
		expect(fs.readFileSync(path.join(folder, 'metrics.jsonl'), 'utf8').trim().split('\n').length).toBeGreaterThan(6);
	});

	test('the planned size is exact, of any layout and type', async () => {
		const folder = path.join(tempDir(), 'sized');
		const config = configOf('text-to-image', folder, {
			output: { folder, layout: 'kohya', dtype: 'F16' },
			// What `include` names is of the UNet: nothing is told of a text encoder's rate.
			adapter: { rank: 2, alpha: 1, targets: 'conv', use_rslora: true, include: ['unet.mid_block.attentions.0.*ff.net.0.proj'] },
			data: { path: path.join(pictures, 'set'), repeats: 2 },
			train: { max_train_steps: 1, train_batch_size: 2 },
		});
		const plan = await planTraining(config, options('text-to-image'));
		const { saved } = await trainFromConfig(config, options('text-to-image'));
		expect(saved?.files[0]).toEqual({ path: 'sized.safetensors', bytes: plan.files.F16.bytes });
	});

	test('dreambooth: class pictures are drawn once, text encoder trained too', async () => {
		const folder = path.join(tempDir(), 'dreambooth');
		const given = {
			data: { path: bare, instance_prompt: 'a zqx square' },
			prior: { class_prompt: 'a square', num_class_images: 2, sample_steps: 2 },
			adapter: { text_encoder: 'attention' },
			train: { max_train_steps: 1, train_batch_size: 2 },
		};
		const heard = listening();
		await trainFromConfig(configOf('dreambooth', folder, given), options('dreambooth'), heard.hooks);
		expect(heard.notes.some((note) => note.startsWith('2 class pictures were drawn'))).toBe(true);
		const drawn = fs.readdirSync(path.join(folder, 'class')).map((name) => fs.readFileSync(path.join(folder, 'class', name), 'base64'));
		const again = listening();
		await trainFromConfig(configOf('dreambooth', folder, given), options('dreambooth', { force: true }), again.hooks);
		expect(again.notes.some((note) => note.includes('were drawn'))).toBe(false);
		expect(again.losses()).toEqual(heard.losses());
		expect(drawn).toHaveLength(2);
		const main = await openFileSource(path.join(folder, 'pytorch_lora_weights.safetensors'));
		const { adapter } = decodeAdapter(await loadInput({ main }));
		expect(new Set(adapter.modules.map(({ component }) => component))).toEqual(new Set(['unet', 'text_encoder']));
		await main.close();
	});

	test('textual inversion: pictures without captions get sentences with the token', async () => {
		const folder = path.join(tempDir(), 'inversion');
		const heard = listening();
		const { saved, facts } = await trainFromConfig(
			configOf('textual-inversion', folder, { ...TOKEN, data: { path: bare }, train: { max_train_steps: 1, train_batch_size: 2 } }),
			options('textual-inversion'),
			heard.hooks,
		);
		expect(heard.notes).toContain('the pictures have no captions, so sentences with the token stand for them');
		expect(saved?.files.map((file) => file.path)).toEqual(['learned_embeds.safetensors', 'README.md', 'training.json']);
		expect(facts.triggerPhrase).toBe('<bar>');
	});

	test('goes on from an adapter, and not from one of other modules', async () => {
		const root = tempDir();
		const first = path.join(root, 'first');
		const given = { train: { max_train_steps: 1, train_batch_size: 2 }, validation: { every: 1, held_out_fraction: 0.2 } };
		const heard = listening();
		await trainFromConfig(configOf('text-to-image', first, given), options('text-to-image'), heard.hooks);
		const next = listening();
		const file = path.join(first, 'pytorch_lora_weights.safetensors');
		await trainFromConfig(
			configOf('text-to-image', path.join(root, 'second'), { ...given, adapter: { init: file } }),
			options('text-to-image'),
			next.hooks,
		);
		const measured = (events: readonly RunEvent[]): readonly number[] =>
			events.flatMap((event) => (event.type === 'validation' ? [event.loss] : []));
		// The held-out loss is on fixed noise: the second run begins where the first ended.
		expect(measured(next.events)[0]).toBe(measured(heard.events).at(-1));
		const other = configOf('text-to-image', path.join(root, 'third'), { adapter: { init: file, rank: 2 } });
		expect((await refusal(trainFromConfig(other, options('text-to-image')))).code).toBe('E_CONFIG');
	});
});

describe('stopped and resumed', () => {
	test('pivotal tuning, stopped in both phases: bit for bit as if never stopped, and planned to the byte', async () => {
		const root = tempDir();
		const given = { ...TOKEN, inversion: { steps: 3 }, train: { max_train_steps: 3, train_batch_size: 2 } };
		const whole = listening();
		const folder = path.join(root, 'same name');
		const config = configOf('pivotal', folder, given);
		const plan = await planTraining(config, options('pivotal'));
		const { saved } = await trainFromConfig(config, options('pivotal'), whole.hooks);
		expect(whole.events.filter(({ type }) => type === 'start')).toHaveLength(2);
		expect(saved?.files.slice(0, 2)).toEqual(plan.files.F32.files.map(({ name, bytes }) => ({ path: name, bytes })));
		const [factors, token] = [
			await tensorsOf(folder, 'pytorch_lora_weights.safetensors'),
			await tensorsOf(folder, 'learned_embeds.safetensors'),
		];
		const inverted = await tensorsOf(path.join(folder, 'inversion/checkpoint-000003'), 'learned_embeds.safetensors');
		// The second phase trained the token on.
		expect(Object.keys(inverted)).toEqual(Object.keys(token));
		expect(inverted).not.toEqual(token);

		fs.rmSync(folder, { recursive: true });
		const parts: number[] = [];
		for (let run = 0; parts.length < 6; run++) {
			if (run > 4) throw new Error('it never ends');
			const stop = new AbortController();
			let steps = 0;
			const heard = listening({
				signal: stop.signal,
				onEvent: (event) => {
					if (event.type === 'step' && ++steps === 2) stop.abort();
				},
			});
			const outcome = await trainFromConfig(
				config,
				options('pivotal', { resume: { from: run === 0 ? 'none' : 'newest', changed: false } }),
				heard.hooks,
			);
			parts.push(...heard.losses());
			expect(outcome.saved === undefined).toBe(outcome.reason === 'stopped');
			expect(fs.existsSync(path.join(folder, 'README.md'))).toBe(outcome.reason !== 'stopped');
		}
		expect(parts).toEqual(whole.losses());
		expect(await tensorsOf(folder, 'pytorch_lora_weights.safetensors')).toEqual(factors);
		expect(await tensorsOf(folder, 'learned_embeds.safetensors')).toEqual(token);
	});

	test('an earlier run is not lost unasked, and another run does not go on from it', async () => {
		const folder = path.join(tempDir(), 'run');
		const one = { train: { max_train_steps: 1, train_batch_size: 2 } };
		const config = configOf('text-to-image', folder, one);
		await trainFromConfig(config, options('text-to-image'));
		const before = fs.readFileSync(path.join(folder, 'pytorch_lora_weights.safetensors'));
		expect((await refusal(trainFromConfig(config, options('text-to-image')))).code).toBe('E_OUTPUT_EXISTS');
		const other = configOf('text-to-image', folder, { ...one, seed: 6 });
		const error = await refusal(trainFromConfig(other, options('text-to-image', { resume: { from: 'newest', changed: false } })));
		expect([error.code, error.message]).toEqual(['E_CONFIG', expect.stringContaining('seed was 5 and is 6')]);
		expect(fs.readFileSync(path.join(folder, 'pytorch_lora_weights.safetensors'))).toEqual(before);
		await trainFromConfig(other, options('text-to-image', { force: true }));
		expect(fs.readFileSync(path.join(folder, 'pytorch_lora_weights.safetensors')).equals(before)).toBe(false);
	});
});

test('the adapter draws what its samples show, and nothing of it without factors', async () => {
	const folder = path.join(tempDir(), 'drawn');
	const config = configOf('text-to-image', folder, {
		...VALIDATION,
		train: { max_train_steps: 4, train_batch_size: 2, learning_rate: 2e-2 },
	});
	const heard = listening();
	await trainFromConfig(config, options('text-to-image'), heard.hooks);
	const shown = heard.events.flatMap((event) => (event.type === 'pictures' ? [event.pictures[0]] : []));
	const { base, tokenizers } = await openTrainingBase(config, undefined, {});
	const { engine } = await openTrainingEngine(config.engine);
	const main = await openFileSource(path.join(folder, 'pytorch_lora_weights.safetensors'));
	const { adapter } = decodeAdapter(await loadInput({ main }));
	const request = { prompt: 'a red star', seed: shown[0]?.seed ?? 0 };
	const draw = async (what: typeof adapter | undefined): Promise<Uint8Array> => {
		const drawn = drawPictures([request], { base, engine, tokenizers, adapter: what, steps: 2, guidance: 7.5, width: 64, height: 64 });
		for await (const { png } of drawn) return png;
		throw new Error('nothing drawn');
	};
	// From the file, through the inference path: the picture of the last step to the byte; the base's own is that of step 0.
	expect(await draw(adapter)).toEqual(shown.at(-1)?.png);
	expect(await draw(undefined)).toEqual(shown[0]?.png);
	expect(await draw(undefined)).not.toEqual(await draw(adapter));
	await main.close();
	await base.close();
});

describe('what is refused before the first step', () => {
	test.each<readonly [string, Objective, Document, string]>([
		['mixed precision without ONNX Runtime', 'text-to-image', { engine: { engine: 'float64', mixed_precision: 'fp16' } }, 'E_CONFIG'],
		['a device that the engine has not', 'text-to-image', { engine: { device: 'abacus' } }, 'E_CONFIG'],
		[
			'an initializer of several tokens',
			'textual-inversion',
			{ token: { placeholder_token: '<x>', initializer_token: 'incomprehensibilities' } },
			'E_CONFIG',
		],
		[
			'captions without the token',
			'textual-inversion',
			{ token: { placeholder_token: '<other>', initializer_token: 'square' } },
			'E_CONFIG',
		],
		[
			'a template without its place',
			'textual-inversion',
			{ token: { placeholder_token: '<bar>', initializer_token: 'square', templates: ['a photo'] } },
			'E_CONFIG',
		],
		['a layout that cannot hold it', 'text-to-image', { output: { layout: 'nonsense', folder: 'x' } }, 'E_USAGE'],
		['a base that is nowhere', 'text-to-image', { base: './no/such/base' }, 'E_HUB'],
		['a pattern that fits nothing', 'text-to-image', { adapter: { include: ['nowhere'] } }, 'E_CONFIG'],
	])('%s', async (_, objective, more, code) => {
		const folder = path.join(tempDir(), 'run');
		const output = { folder, ...((more['output'] as Document | undefined) ?? {}) };
		const config = configOf(objective, folder, { ...more, output: { ...output, folder } });
		const error = await refusal(trainFromConfig(config, options(objective)));
		expect(error.code).toBe(code);
		expect(fs.existsSync(path.join(folder, 'run.lock'))).toBe(false);
	});
});
