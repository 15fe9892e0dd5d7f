import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import {
	collectMaps,
	type EditingControl,
	greyPicture,
	overlayPicture,
	promptToPrompt,
	tokenMap,
	wordTokens,
} from '../../src/attention/index.js';
import { createFloat64Engine } from '../../src/engines/float64/index.js';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import {
	type AttentionControl,
	type Base,
	createTorchGenerator,
	type Engine,
	f32Tensor,
	type Generated,
	generate,
	parameterSource,
	type StableDiffusion,
	timestepFeatures,
	UNET_INPUTS,
	unetGraph,
} from '../../src/index.js';
import { encodePrompts } from '../../src/pipeline/encode-prompts.js';
import { apart, editsOf, p2p, type RecordedRun, recordedTensors, shapesModel, shapesTokenizer, tensor } from './p2p-fixture.js';

const tensors = recordedTensors();
const tokenizer = shapesTokenizer();
// The bar of the reference set for latents; every recorded f32_vs_f64 is at most 8e-5.
const LATENTS = 5e-4;

// Runs of one size and batch after each other: they share a session.
const NAMES = Object.entries(p2p.runs)
	.sort(([, a], [, b]) => a.size - b.size || a.prompts.length - b.prompts.length)
	.map(([name]) => name);

let engine: Engine;
let base: Base;
let model: StableDiffusion;

beforeAll(async () => {
	engine = await createOnnxEngine();
	({ base, model } = await shapesModel(engine));
});
afterAll(async () => {
	await model.close();
	await base.close();
});

function controlOf(run: RecordedRun, slices?: number): EditingControl {
	return promptToPrompt({ tokenizer, source: run.prompts[0], edits: editsOf(run), slices });
}

/** Largest distance of the latents of any call from the record, and the result. */
async function follow(name: string, control: AttentionControl | undefined): Promise<{ worst: number; result: Generated }> {
	const run = p2p.runs[name];
	if (run === undefined) throw new Error(`no run ${name}`);
	const { size, steps, prompts } = run;
	const prompt = await encodePrompts(model, prompts, undefined, { height: size, width: size });
	const loop = generate(model, {
		prompt,
		scheduler: 'dpmsolver++',
		steps,
		guidance: p2p.settings.guidance,
		height: size,
		width: size,
		count: prompts.length,
		generators: prompts.map(() => createTorchGenerator(p2p.settings.seed)),
		control,
	});
	const { data } = tensor(tensors, `${name}/latents`);
	const per = data.length / steps;
	let worst = 0;
	for (let call = 0; ; call++) {
		const next = await loop.next();
		if (next.done === true) {
			expect(call).toBe(steps);
			return { worst, result: next.value };
		}
		worst = Math.max(worst, apart(next.value.latents, data.subarray(call * per, (call + 1) * per)));
	}
}

describe('Prompt-to-Prompt gives the latents of diffusers with its community controllers', () => {
	it.each(NAMES)('%s', async (name) => {
		const run = p2p.runs[name] as RecordedRun;
		const { worst } = await follow(name, controlOf(run));
		expect(worst).toBeLessThanOrEqual(LATENTS);
	});

	it.each(NAMES)('%s is not what comes without edits', async (name) => {
		expect((await follow(name, undefined)).worst).toBeGreaterThan(0.05);
	});

	it('self-attention above the limit is left alone', async () => {
		const run = p2p.runs['refine-reweight-160'] as RecordedRun;
		const control = promptToPrompt({ tokenizer, source: run.prompts[0], edits: editsOf(run), selfLimit: 400 });
		expect((await follow('refine-reweight-160', control)).worst).toBeGreaterThan(0.05);
	});

	it('in pieces of the query as well', async () => {
		const { worst } = await follow('refine', controlOf(p2p.runs['refine'] as RecordedRun, 3));
		expect(worst).toBeLessThanOrEqual(LATENTS);
	});
});

describe('attention maps', () => {
	it('are means over heads and calls after the edits, and become pictures', async () => {
		const run = p2p.runs['refine'] as RecordedRun;
		const maps = collectMaps(base.unet, { pictures: 2, over: controlOf(run) });
		const { worst, result } = await follow('refine', maps);
		expect(worst).toBeLessThanOrEqual(LATENTS);
		expect(maps.seenCalls).toBe(run.steps);
		const mean = maps.mean();
		const { layers = [], word = '', tokens = [], picture = 0, size = [0, 0] } = run.picture ?? {};
		const inside = (path: string): boolean => layers.some((layer) => path.startsWith(`${layer}.`));
		for (const layer of layers) {
			const { shape, data } = tensor(tensors, `maps/${layer}`);
			const [pictures = 0, places = 0, kept = 0] = shape;
			const own = mean.get(`${layer}.transformer_blocks.0.attn2`);
			expect(own?.shape).toEqual([pictures, places, tokenizer.maxLength]);
			const first = Float32Array.from(data, (_, i) => own?.data[Math.floor(i / kept) * tokenizer.maxLength + (i % kept)] ?? Number.NaN);
			// Probabilities: the reference set's bar.
			expect(apart(first, data)).toBeLessThanOrEqual(1e-5);
		}
		expect(wordTokens(tokenizer, run.prompts[1] ?? '', word)).toEqual(tokens);
		const large = tokenMap(mean, { tokens, picture, latents: [run.size / 8, run.size / 8], size, layers: inside });
		expect(apart(large, tensor(tensors, 'picture/circle').data)).toBeLessThanOrEqual(1e-5);

		const pixels = tokenMap(mean, { tokens, picture, latents: [run.size / 8, run.size / 8], size: [run.size, run.size] });
		expect(overlayPicture(result.pictures[picture] ?? new Uint8Array(), pixels)).toHaveLength(3 * run.size * run.size);
	});

	it('of every layer, one picture, no guidance: rows sum to 1', async () => {
		const maps = collectMaps(base.unet);
		const prompt = await model.encodePrompt('a red circle', undefined, { height: 64, width: 64 });
		const loop = generate(model, {
			prompt,
			scheduler: 'ddim',
			steps: 1,
			guidance: 1,
			height: 64,
			width: 64,
			generators: [createTorchGenerator(1)],
			control: maps,
		});
		expect(() => maps.mean()).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
		for await (const _ of loop);
		expect(maps.layers).toHaveLength(16);
		for (const { shape, data } of maps.last().values()) {
			const [, places = 0, width = 0] = shape;
			for (let place = 0; place < places; place++) {
				const row = Array.from(data.subarray(place * width, (place + 1) * width));
				expect(row.reduce((a, b) => a + b, 0)).toBeCloseTo(1, 5);
			}
		}
	});

	it('refuses a batch that is another', async () => {
		const prompt = await model.encodePrompt('a red circle', undefined, { height: 64, width: 64 });
		const loop = generate(model, {
			prompt,
			scheduler: 'ddim',
			steps: 1,
			guidance: 4,
			height: 64,
			width: 64,
			generators: [createTorchGenerator(1)],
			control: collectMaps(base.unet, { pictures: 3 }),
		});
		await expect(loop.next()).rejects.toMatchObject({ code: 'E_USAGE' });
		expect(() => collectMaps(base.unet, { layers: () => false })).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
	});
});

describe('one call of the UNet in double precision', () => {
	it('is torch float64 with the same controllers', async () => {
		const { run: name, timestep, call, calls } = p2p.forward;
		const control = controlOf(p2p.runs[name] as RecordedRun);
		const states = tensor(tensors, 'forward/states');
		const sample = tensor(tensors, 'forward/sample');
		const [rows = 0, tokens = 0] = states.shape;
		const [, , height = 0, width = 0] = sample.shape;
		const graph = unetGraph(base.unet, { batch: rows, height, width, tokens }, { forms: () => 'plain', processor: control.processor });
		const session = await createFloat64Engine().load(graph, parameterSource(graph, base.weights));
		const [first = 0] = base.unet.blockOutChannels;
		const features = timestepFeatures(new Float64Array(rows).fill(timestep), first, base.unet);
		const result = await session.run({
			[UNET_INPUTS.sample]: f32Tensor(sample.shape, Float32Array.from(sample.data)),
			[UNET_INPUTS.states]: f32Tensor(states.shape, Float32Array.from(states.data)),
			[UNET_INPUTS.time]: f32Tensor([rows, first], features),
			...control.feeds?.(call, calls),
		});
		await session.close();
		const expected = tensor(tensors, 'forward/output');
		// The features of the timestep are float32 in both, and may differ in the last bit.
		expect(apart(result['sample']?.data ?? [], expected.data)).toBeLessThanOrEqual(2e-7);
	});
});

describe('pictures of maps', () => {
	const maps = new Map([['layer', f32Tensor([1, 4, 2], Float32Array.of(0.1, 0.9, 0.2, 0.8, 0.3, 0.7, 0.4, 0.6))]]);
	const at = { latents: [2, 2], size: [2, 2] } as const;

	it('grey and overlaid', () => {
		const map = tokenMap(maps, { ...at, tokens: [0] });
		expect([...greyPicture(map)].filter((_, i) => i % 3 === 0)).toEqual([64, 128, 191, 255]);
		expect([...greyPicture(new Float32Array(2))]).toEqual([0, 0, 0, 0, 0, 0]);
		const over = overlayPicture(new Uint8Array(12).fill(100), map, { strength: 0.5, colour: [0, 200, 100] });
		expect([...over.subarray(9)]).toEqual([50, 150, 100]);
		expect(() => overlayPicture(new Uint8Array(3), map)).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
	});

	it('several tokens are one share', () => {
		for (const x of tokenMap(maps, { ...at, tokens: [0, 1] })) expect(x).toBeCloseTo(1, 6);
	});

	it('refuses what the maps have not', () => {
		for (const wrong of [
			{ ...at, tokens: [2] },
			{ ...at, tokens: [0], picture: 1 },
			{ ...at, tokens: [0], layers: () => false },
			{ ...at, tokens: [0], latents: [5, 3] as const },
			{ ...at, tokens: [0], latents: [0, 0] as const },
		]) {
			expect(() => tokenMap(maps, wrong)).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
		}
	});
});

describe('edits that make no sense', () => {
	const source = 'a red circle';
	const edit = (change: object): (() => unknown) => {
		return () => promptToPrompt({ tokenizer, source, edits: [{ kind: 'replace', prompt: 'a red square', ...change }] });
	};
	it.each([
		['no edits', () => promptToPrompt({ tokenizer, source, edits: [] })],
		['a share above 1', edit({ cross: 1.1 })],
		['a share that is no number', edit({ self: Number.NaN })],
		['a range that runs back', edit({ self: [0.5, 0.2] })],
		['a word that is not there', edit({ crossWords: [{ word: 'circle', range: 0.5 }] })],
		['a weight that is no number', edit({ weights: [{ word: 'red', factor: Number.POSITIVE_INFINITY }] })],
		['reweight without weights', edit({ kind: 'reweight' })],
		['reweight with other tokens', edit({ kind: 'reweight', prompt: 'a large red square', weights: [{ word: 'red', factor: 2 }] })],
	])('%s', (_, act) => {
		expect(act).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
	});
});
