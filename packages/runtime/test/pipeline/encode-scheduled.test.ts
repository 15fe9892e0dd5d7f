import { readFileSync } from 'node:fs';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import {
	createScheduler,
	createTorchGenerator,
	denoise,
	encodeScheduled,
	encodeWeighted,
	f32Tensor,
	generate,
	guideComposed,
	imageToImageStart,
	joinPrompts,
	parseWeightedPrompt,
	type StableDiffusion,
	schedulerConfigFor,
} from '../../src/index.js';
import { apart, tinyShapes } from '../fixtures.js';

interface Run {
	readonly prompt: string;
	readonly negative: string | null;
	readonly steps: number;
	readonly scheduler: 'dpmsolver++' | 'ddim';
	readonly guidance: number;
	readonly strength?: number;
	readonly f32_vs_f64: number;
	readonly latents: readonly number[];
}

/** Runs by transformers and diffusers over the web UI's own schedules: fixtures/runtime/make_scheduled_runs.py. */
const { seed, size, runs } = JSON.parse(
	readFileSync(new URL('../../../../fixtures/runtime/scheduled-runs.json', import.meta.url), 'utf8'),
) as { readonly seed: number; readonly size: number; readonly runs: Readonly<Record<string, Run>> };

let model: StableDiffusion;
beforeAll(async () => {
	model = await tinyShapes(await createOnnxEngine());
});
afterAll(() => model.close());

const SIZE = { height: size, width: size };

async function latentsOf({ prompt, negative, steps, scheduler, guidance, strength }: Run, count = 1): Promise<ArrayLike<number>> {
	const encoded = await encodeScheduled(model, prompt, negative ?? undefined, { ...SIZE, steps, count });
	const generators = Array.from({ length: count }, () => createTorchGenerator(seed));
	if (strength === undefined) {
		const loop = generate(model, { prompt: encoded, scheduler, steps, guidance, ...SIZE, generators, count });
		for (;;) {
			const { done, value } = await loop.next();
			if (done === true) return value.latents.data;
		}
	}
	// From latents of zeros instead of a picture.
	const { begin } = imageToImageStart(scheduler, steps, strength);
	const made = createScheduler(scheduler, schedulerConfigFor(scheduler, model.base.scheduler.config, { stableDiffusion: true }), steps, {
		begin,
	});
	const shape = [1, 4, size / 8, size / 8] as const;
	const noise = createTorchGenerator(seed).randn(shape[1] * shape[2] * shape[3]);
	const latents = made.addNoise(new Float32Array(noise.length), noise, begin);
	const loop = denoise(model.unet, {
		config: model.base.unet,
		scheduler: made,
		latents,
		shape,
		conditioning: encoded.conditioning,
		guidance,
		begin,
	});
	for (;;) {
		const { done, value } = await loop.next();
		if (done === true) return value;
	}
}

describe('encodeScheduled', () => {
	it.each(Object.entries(runs))('%s: the latents of torch', async (_, run) => {
		// The bar of the reference set for latents.
		expect(apart(await latentsOf(run), run.latents)).toBeLessThanOrEqual(Math.max(5e-4, 3 * run.f32_vs_f64));
	});

	it('of two pictures of one batch as of one', async () => {
		const run = runs['and that changes'] as Run;
		const both = Float32Array.from(await latentsOf(run, 2));
		const half = both.length / 2;
		for (const part of [both.subarray(0, half), both.subarray(half)]) expect(apart(part, run.latents)).toBeLessThanOrEqual(5e-4);
	});

	it('is encodeWeighted where nothing changes', async () => {
		const prompt = 'a (large:1.3) red [ring], BREAK striped';
		const plain = await encodeWeighted(model, parseWeightedPrompt(prompt).segments, parseWeightedPrompt('blue').segments, SIZE);
		const scheduled = await encodeScheduled(model, prompt, 'blue', { ...SIZE, steps: 10 });
		expect(scheduled.conditioning.at).toBeUndefined();
		expect(scheduled.conditioning.states(true)).toEqual(plain.conditioning.states(true));
	});

	it('fills shorter texts up with their last state, and the negative with empty chunks', async () => {
		const long = 'a circle, '.repeat(30);
		const [short, both, negative] = await Promise.all([
			encodeWeighted(model, parseWeightedPrompt('red').segments, undefined, SIZE),
			encodeScheduled(model, `${long} AND red`, undefined, { ...SIZE, steps: 4 }),
			encodeWeighted(model, parseWeightedPrompt('').segments, undefined, SIZE),
		]);
		const { shape, data } = both.conditioning.states(true);
		expect(shape).toEqual([3, 154, 64]);
		const row = (i: number) => data.subarray(i * 154 * 64, (i + 1) * 154 * 64);
		const one = short.conditioning.states(false).data;
		expect(row(2).subarray(0, 77 * 64)).toEqual(one);
		for (let token = 77; token < 154; token++) expect(row(2).subarray(token * 64, (token + 1) * 64)).toEqual(one.subarray(76 * 64));
		const empty = negative.conditioning.states(false).data;
		expect(row(0)).toEqual(Float32Array.from([...empty, ...empty]));
	});

	it('refuses what cannot be weighed', async () => {
		const prompt = await encodeScheduled(model, 'a AND b', undefined, { ...SIZE, steps: 4 });
		const request = { prompt, scheduler: 'ddim' as const, steps: 4, guidance: 5, ...SIZE, generators: [createTorchGenerator(1)] };
		await expect(generate(model, { ...request, guidanceRescale: 0.5 }).next()).rejects.toMatchObject({ code: 'E_USAGE' });
		expect(() => joinPrompts([prompt, prompt])).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
		const loop = denoise(model.unet, {
			config: { ...model.base.unet, timeCondProjDim: 8 },
			scheduler: createScheduler('lcm', {}, 2),
			latents: new Float32Array(4 * 64),
			shape: [1, 4, 8, 8],
			conditioning: prompt.conditioning,
			guidance: 2,
		});
		await expect(loop.next()).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining('LCM') });
	});
});

describe('guideComposed', () => {
	it('adds what each text differs by', () => {
		// 1 + (3 - 1) * 0.5 * 2 + (0 - 1) * -1 * 2; 2 + (2 - 2) * … + (5 - 2) * -2
		expect([...guideComposed(Float32Array.of(1, 2, 3, 2, 0, 5), [0.5, -1], 2)]).toEqual([5, -4]);
		expect(f32Tensor([2], guideComposed([1, 2, 3, 4], [1], 7)).data).toEqual(Float32Array.of(15, 16));
	});
});
