import { FormatError } from '@lorakit/format';
import { type Base, f32Tensor, type HostTensor, noiseSchedule } from '@lorakit/runtime';
import { openBase } from '@lorakit/runtime/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { GradientEngine } from '../../src/gradients/gradient-engine.js';
import { createTrainingModel, type TrainingModelOptions } from '../../src/model/create-training-model.js';
import { modulesOf, targetModules } from '../../src/model/target-modules.js';
import { initialTensors } from '../../src/model/trainable-tensors.js';
import type { TrainingBatch } from '../../src/model/training-batch.js';
import { random } from '../gradients/support.js';
import { TINY_SHAPES } from '../gradients/tiny-shapes-run.js';

let base: Base;
beforeAll(async () => {
	base = await openBase(TINY_SHAPES);
});
afterAll(() => base.close());

/** What an engine was asked for; every gradient it gives is 1. */
function fakeEngine(fail: () => boolean = () => false, ownBytes?: number) {
	const log: string[] = [];
	const fed: Readonly<Record<string, HostTensor>>[] = [];
	const engine: GradientEngine = {
		id: 'fake',
		device: 'cpu',
		async load(graph, { wrt }) {
			if (fail()) throw new FormatError('E_INTERRUPTED', 'stopped');
			const shape = graph.inputs.find(({ name }) => name === 'target')?.value ?? 0;
			log.push(`load ${graph.values[shape]?.shape.join('x')}`);
			return {
				ownBytes,
				async run(feeds) {
					fed.push(feeds);
					const ones = (name: string): HostTensor =>
						f32Tensor(feeds[name]?.shape ?? [], new Float32Array(feeds[name]?.data.length ?? 0).fill(1));
					const outputs = { loss: f32Tensor([1], Float32Array.of(0)), errors: f32Tensor([1], Float32Array.of(0)) };
					return { outputs, gradients: Object.fromEntries(wrt.map((name) => [name, ones(name)])) };
				},
				async close() {
					log.push('close');
				},
			};
		},
	};
	return { engine, log, fed };
}

async function modelOn(engine: GradientEngine, options: Partial<TrainingModelOptions> = {}, alpha = 1) {
	const modules = targetModules(modulesOf(base), { rank: 4, alpha, unet: 'attention' });
	const tensors = await initialTensors(modules, { seed: 1 }, { read: async () => new Float32Array(0), stored: () => undefined });
	for (const { name, values } of tensors) if (name.endsWith(':up')) values.fill(0.5);
	return createTrainingModel({
		unet: base.unet,
		weights: base.weights,
		engine,
		modules,
		tensors,
		prediction: 'epsilon',
		schedule: noiseSchedule({}),
		memory: 'fast',
		...options,
	});
}

function batchOf(count: number, timesteps: readonly number[] = Array(count).fill(500)): TrainingBatch {
	const shape = [count, base.unet.inChannels, 4, 4];
	return {
		latents: random(shape, 1),
		noise: random(shape, 2),
		timesteps,
		text: { states: random([count, 3, base.unet.crossAttentionDim], 3) },
		weights: Array<number>(count).fill(1 / count),
	};
}

describe('a training model', () => {
	it('keeps sessions of other shapes while their weights are small, and closes all in the end', async () => {
		const { engine, log } = fakeEngine();
		const model = await modelOn(engine);
		for (const count of [2, 2, 1, 2]) await model.gradients(batchOf(count));
		await model.close();
		await model.close();
		// The weights are small: both are kept.
		expect(log).toEqual(['load 2x4x4x4', 'load 1x4x4x4', 'close', 'close']);
	});

	it('keeps of large sessions what has room by what each holds for itself, the latest used', async () => {
		const { engine, log } = fakeEngine(undefined, 400 * 2 ** 20);
		const model = await modelOn(engine);
		for (const count of [1, 2, 1, 3, 1]) await model.gradients(batchOf(count));
		// Two have room in 1 GiB; the third takes that of the second, which was used before the first.
		expect(log).toEqual(['load 1x4x4x4', 'load 2x4x4x4', 'close', 'load 3x4x4x4']);
		await model.close();
	});

	it('holds one session at a time where each alone is as large as what is kept', async () => {
		const { engine, log } = fakeEngine(undefined, 2 ** 30);
		const model = await modelOn(engine);
		for (const count of [1, 2, 2, 1]) await model.gradients(batchOf(count));
		expect(log).toEqual(['load 1x4x4x4', 'close', 'load 2x4x4x4', 'close', 'load 1x4x4x4']);
		await model.close();
	});

	it('is as before after a load that failed', async () => {
		let broken = true;
		const { engine, log } = fakeEngine(() => broken);
		const model = await modelOn(engine);
		await expect(model.gradients(batchOf(1))).rejects.toMatchObject({ code: 'E_INTERRUPTED' });
		broken = false;
		await model.gradients(batchOf(1));
		await model.close();
		expect(log).toEqual(['load 1x4x4x4', 'close']);
	});

	it('feeds up times alpha / rank and gives its gradient by up itself', async () => {
		const { engine, fed } = fakeEngine();
		const model = await modelOn(engine, {}, 2);
		const { gradients } = await model.gradients(batchOf(1));
		for (const { name, values } of model.tensors) {
			const factor = name.endsWith(':up') ? 0.5 : 1;
			expect(fed[0]?.[name]?.data).toEqual(values.map((x) => x * factor));
			expect(new Set(gradients.get(name))).toEqual(new Set([factor]));
		}
	});

	it.each([
		// a / (1 - a) against gamma 5: below it at the end of the schedule, above at its beginning; Hang et al., and diffusers' scripts for v.
		['epsilon', (r: number) => Math.min(r, 5) / r],
		['v_prediction', (r: number) => Math.min(r, 5) / (r + 1)],
		['sample', (r: number) => Math.min(r, 5)],
	] as const)('predicts and weighs %s by its rule', async (prediction, weight) => {
		const { engine, fed } = fakeEngine();
		const schedule = noiseSchedule({});
		const model = await modelOn(engine, { prediction, schedule, snrGamma: 5 });
		const batch = batchOf(3, [0, 400, 999]);
		await model.gradients(batch);
		const [target, weights] = [fed[0]?.['target']?.data ?? [], fed[0]?.['loss_weights']?.data ?? []];
		const size = target.length / 3;
		for (const [i, t] of batch.timesteps.entries()) {
			const a = schedule.alphasCumprod[t] ?? 0;
			// float32 of about 1e-7, and 1 - a at the first timestep, which loses three digits.
			expect((weights[i] ?? 0) / (weight(a / (1 - a)) / 3)).toBeCloseTo(1, 3);
			for (let j = i * size; j < (i + 1) * size; j++) {
				const [x, e] = [batch.latents.data[j] ?? 0, batch.noise.data[j] ?? 0];
				const want = prediction === 'epsilon' ? e : prediction === 'sample' ? x : Math.sqrt(a) * e - Math.sqrt(1 - a) * x;
				expect(target[j]).toBeCloseTo(want, 5);
			}
		}
	});

	it.each([
		['v_prediction', 0],
		['sample', 0],
		['epsilon', 1],
	] as const)('has a finite min-SNR weight where the last timestep has no signal at all: %s', async (prediction, weight) => {
		const { engine, fed } = fakeEngine();
		const schedule = noiseSchedule({ rescale_betas_zero_snr: true });
		expect(schedule.alphasCumprod[999]).toBe(0);
		const model = await modelOn(engine, { prediction, schedule, snrGamma: 5 });
		await model.gradients(batchOf(1, [999]));
		expect([...(fed[0]?.['loss_weights']?.data ?? [])]).toEqual([weight]);
	});

	it('refuses batches that do not fit before anything is loaded', async () => {
		const { engine, log } = fakeEngine();
		const model = await modelOn(engine, { textEncoder: base.textEncoders[0] });
		const good = batchOf(2);
		const ids = (...lengths: readonly number[]) => ({ ...good, text: { ids: lengths.map((n) => Array<number>(n).fill(1)) } });
		for (const batch of [
			batchOf(0),
			{ ...good, latents: random([2, 3, 4, 4], 1) },
			{ ...good, noise: random([2, 4, 4, 5], 1) },
			{ ...good, timesteps: [1] },
			{ ...good, weights: [] },
			{ ...good, mask: random([2, 4, 4, 4], 1) },
			{ ...good, text: { states: random([1, 3, base.unet.crossAttentionDim], 3) } },
			ids(5),
			// Together as many as two rows of the first one's length.
			{ ...batchOf(3), text: ids(5, 4, 6).text },
		]) {
			await expect(model.gradients(batch), JSON.stringify(batch.text).slice(0, 50)).rejects.toMatchObject({ code: 'E_USAGE' });
		}
		expect(log).toEqual([]);
		await expect(model.gradients({ ...good, timesteps: [1, 1000] })).rejects.toBeInstanceOf(FormatError);
		await expect(model.gradients({ ...good, timesteps: [1, Number.NaN] })).rejects.toBeInstanceOf(FormatError);
		await model.close();
	});
});
