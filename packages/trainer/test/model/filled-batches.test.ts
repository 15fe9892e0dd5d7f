import { fileURLToPath } from 'node:url';
import { createFloat64Engine, f32Tensor, noiseSchedule } from '@lorakit/runtime';
import { openBase } from '@lorakit/runtime/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { engineGradients } from '../../src/gradients/engine-gradients.js';
import { createTrainingModel } from '../../src/model/create-training-model.js';
import { modulesOf, targetModules } from '../../src/model/target-modules.js';
import type { TrainableTensor } from '../../src/model/trainable-tensor.js';
import { initialTensors } from '../../src/model/trainable-tensors.js';

const BASE = fileURLToPath(new URL('../../../../fixtures/runtime/tiny-shapes', import.meta.url));
const numbers = (count: number, seed: number): Float32Array => Float32Array.from({ length: count }, (_, i) => Math.sin(seed + i * 1.7));

describe('batches that are filled up', () => {
	let base: Awaited<ReturnType<typeof openBase>>;
	let tensors: readonly TrainableTensor[];
	beforeAll(async () => {
		base = await openBase(BASE);
	});
	afterAll(() => base.close());

	it('have the loss and the gradients of what is in them, and load one graph', async () => {
		const modules = targetModules(modulesOf(base), { rank: 2, include: ['mid_block.attentions.0.transformer_blocks.0.attn2.to_v'] });
		tensors = await initialTensors(modules, { seed: 1 }, { read: async () => new Float32Array(0), stored: () => undefined });
		for (const [i, { values }] of tensors.entries()) values.set(numbers(values.length, i));
		const inner = engineGradients(createFloat64Engine());
		let loads = 0;
		const engine: typeof inner = {
			...inner,
			load: (...args) => {
				loads++;
				return inner.load(...args);
			},
		};
		const options = {
			unet: base.unet,
			weights: base.weights,
			engine,
			modules,
			tensors,
			prediction: 'epsilon',
			schedule: noiseSchedule(base.scheduler.config as Parameters<typeof noiseSchedule>[0]),
			memory: 'fast',
		} as const;
		const batch = (count: number) => ({
			latents: f32Tensor([count, 4, 8, 8], numbers(count * 256, 3)),
			noise: f32Tensor([count, 4, 8, 8], numbers(count * 256, 4)),
			timesteps: Array.from({ length: count }, (_, i) => 100 + 300 * i),
			text: { states: f32Tensor([count, 77, base.unet.crossAttentionDim], numbers(count * 77 * base.unet.crossAttentionDim, 5)) },
			weights: new Array<number>(count).fill(1 / count),
		});
		const plain = createTrainingModel(options);
		const filled = createTrainingModel({ ...options, batchSize: 2, masked: true });
		await filled.gradients(batch(2));
		const [a, b] = [await plain.gradients(batch(1)), await filled.gradients(batch(1))];
		expect(loads).toBe(2);
		expect(b.errors).toEqual(a.errors);
		expect(b.loss).toBeCloseTo(a.loss, 12);
		for (const [name, gradient] of a.gradients) {
			const most = Math.max(...gradient.map(Math.abs));
			expect(most).toBeGreaterThan(0);
			const apart = gradient.map((x, i) => Math.abs((b.gradients.get(name)?.[i] ?? Number.NaN) - x));
			expect(Math.max(...apart)).toBeLessThanOrEqual(1e-7 * most);
		}
		await plain.close();
		await filled.close();
	});
});
