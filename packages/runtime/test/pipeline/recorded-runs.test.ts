import fs from 'node:fs';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import {
	createTorchGenerator,
	generate,
	kindOfConfig,
	type SchedulerKind,
	type StableDiffusion,
	schedulerConfigFor,
} from '../../src/index.js';
import { apart, FIXTURES, recorded, tinyShapes, use } from '../fixtures.js';

interface Run {
	readonly prompt: string;
	readonly negative: string | null;
	readonly scheduler: string;
	readonly scheduler_config: object;
	readonly steps: number;
	readonly guidance: number;
	readonly seed_latents: number;
	readonly seed_step_noise: number;
	readonly size: readonly [number, number];
	readonly adapters: readonly { readonly file: string; readonly scale: number }[];
}

const text = fs.readFileSync(path.join(FIXTURES, 'shapes-runs.json'), 'utf8').replaceAll('-Infinity', '-1e999');
const runs = Object.entries(JSON.parse(text) as Record<string, Run>);
const want = recorded('shapes-runs.safetensors');

/** diffusers 0.40-dev on torch, CPU, float32: parts of reference/inference-shapes. */
describe('whole runs of tiny-shapes are those of diffusers', () => {
	let model: StableDiffusion;
	beforeAll(async () => {
		model = await tinyShapes(await createOnnxEngine());
	});
	afterAll(() => model.close());

	it.each(runs)('%s', async (name, run) => {
		await model.setAdapters(await Promise.all(run.adapters.map(({ file, scale }) => use(/^[a-z]+/.exec(file)?.[0] ?? '', scale))));
		const [height, width] = run.size;
		const prompt = await model.encodePrompt(run.prompt, run.negative ?? undefined, { height, width });
		const ids = want.get(`${name}/input_ids`);
		expect([...(prompt.ids[0]?.[0] ?? []), ...(prompt.ids[0]?.[1] ?? [])]).toEqual([...(ids?.data ?? [])]);
		const kind = kindOfConfig({ _class_name: run.scheduler, ...run.scheduler_config }) as SchedulerKind;
		// The set drew the initial latents and the noise of the steps with two generators.
		const [start, steps] = [createTorchGenerator(run.seed_latents), createTorchGenerator(run.seed_step_noise)];
		let drawn = 0;
		const generator = { ...start, randn: (n: number) => (drawn++ === 0 ? start : steps).randn(n) };
		const loop = generate(model, {
			prompt,
			scheduler: kind,
			schedulerConfig: schedulerConfigFor(kind, run.scheduler_config),
			steps: run.steps,
			guidance: run.guidance,
			height,
			width,
			generators: [generator],
		});
		const latents = want.get(`${name}/latents`);
		const per = (latents?.data.length ?? 0) / (latents?.shape[0] ?? 1);
		let calls = 0;
		for await (const step of loop) {
			// The manifest's bar for latents.
			expect(apart(step.latents, latents?.data.subarray(calls * per, (calls + 1) * per) ?? [])).toBeLessThan(5e-4);
			calls++;
		}
		expect(calls).toBe(latents?.shape[0]);
	});

	it('is the base again, to the bit, when adapters are taken off, and needs no new session for another scale', async () => {
		const forward = async (): Promise<Float32Array> => {
			const prompt = await model.encodePrompt('a red star', undefined, { height: 64, width: 64 });
			const loop = generate(model, {
				prompt,
				scheduler: 'dpmsolver++',
				steps: 2,
				guidance: 5,
				height: 64,
				width: 64,
				generators: [createTorchGenerator(1)],
			});
			for (;;) {
				const { value, done } = await loop.next();
				if (done === true) return value.latents.data as Float32Array;
			}
		};
		await model.setAdapters([]);
		const before = await forward();
		await model.setAdapters([await use('striped', 1)]);
		const striped = await forward();
		expect(apart(before, striped)).toBeGreaterThan(0.01);
		await model.setAdapters([await use('striped', 0.5)]);
		const half = await forward();
		expect(apart(half, striped)).toBeGreaterThan(0.001);
		await model.setAdapters([]);
		expect(await forward()).toEqual(before);
	});

	it.each([
		[{ height: 60 }, 'multiples of 8'],
		[{ steps: 0 }, 'whole number from 1'],
		[{ generators: [] }, '0 generators for 1'],
	])('refuses %o in one sentence', async (wrong, words) => {
		const prompt = await model.encodePrompt('a circle', undefined, { height: 64, width: 64 });
		const request = {
			prompt,
			scheduler: 'ddim' as const,
			steps: 2,
			guidance: 1,
			height: 64,
			width: 64,
			generators: [createTorchGenerator(0)],
			...wrong,
		};
		await expect(generate(model, request).next()).rejects.toMatchObject({ code: 'E_USAGE', message: expect.stringContaining(words) });
	});
});
