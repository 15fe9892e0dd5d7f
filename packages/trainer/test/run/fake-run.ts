import { f32Tensor } from '@lorakit/runtime';
import type { TrainableTensor } from '../../src/model/trainable-tensor.js';
import type { TrainingBatch } from '../../src/model/training-batch.js';
import type { Loss, LossAndGradients, TrainingModel } from '../../src/model/training-model.js';
import { createOptimizer } from '../../src/optimizers/create-optimizer.js';
import type { EmaModel } from '../../src/optimizers/ema-model.js';
import type { OptimizerOptionsInput } from '../../src/optimizers/optimizer-options.js';
import { createDiffusionBatches } from '../../src/run/diffusion-batches.js';
import type { ExampleSource } from '../../src/run/example-source.js';
import { createRandomStreams } from '../../src/run/random-streams.js';
import type { TrainRunOptions } from '../../src/run/train-run.js';

/**
 * A quadratic in place of a UNet: values x (the noise's size long) want to be latents + noise * timestep / 1000, so the loss and
 * its gradient depend on everything that is drawn. Error of a sample: mean (x - wanted)^2.
 */
export interface FakeModel extends TrainingModel {
	/** Called before each gradient with the batch; may change the answer. */
	onGradient?: (batch: TrainingBatch, count: number) => number | undefined;
	count: number;
}

export const FAKE_SHAPE = [2, 2, 2] as const;
const SIZE = 8;

export function fakeModel(start: readonly number[] = [0.5, -0.25, 0.1, 0.9, -1, 0.3, 0.2, -0.7]): FakeModel {
	const tensors: TrainableTensor[] = [
		{ name: 'unet.a:down', group: 'unet', shape: [4], values: Float32Array.from(start.slice(0, 4)) },
		{ name: 'unet.a:up', group: 'text_encoder', shape: [2, 2], values: Float32Array.from(start.slice(4)) },
	];
	const value = (i: number): number => (i < 4 ? tensors[0]?.values[i] : tensors[1]?.values[i - 4]) ?? 0;
	const wanted = ({ latents, noise, timesteps }: TrainingBatch, b: number, i: number): number =>
		(latents.data[b * SIZE + i] ?? 0) + ((noise.data[b * SIZE + i] ?? 0) * (timesteps[b] ?? 0)) / 1000;
	const errorsOf = (batch: TrainingBatch): Float32Array =>
		Float32Array.from(batch.timesteps, (_, b) => {
			let sum = 0;
			for (let i = 0; i < SIZE; i++) sum += (value(i) - wanted(batch, b, i)) ** 2;
			return sum / SIZE;
		});
	const weighted = (errors: Float32Array, { weights }: TrainingBatch): number =>
		errors.reduce((sum, e, b) => sum + e * (weights[b] ?? 0), 0);
	const model: FakeModel = {
		tensors,
		count: 0,
		async loss(batch): Promise<Loss> {
			const errors = errorsOf(batch);
			return { loss: weighted(errors, batch), errors };
		},
		async gradients(batch): Promise<LossAndGradients> {
			const errors = errorsOf(batch);
			const given = model.onGradient?.(batch, model.count);
			model.count++;
			const gradient = new Float32Array(SIZE);
			for (let b = 0; b < batch.timesteps.length; b++) {
				for (let i = 0; i < SIZE; i++)
					gradient[i] = (gradient[i] ?? 0) + (2 / SIZE) * (value(i) - wanted(batch, b, i)) * (batch.weights[b] ?? 0);
			}
			return {
				loss: given ?? weighted(errors, batch),
				errors,
				gradients: new Map([
					['unet.a:down', gradient.slice(0, 4)],
					['unet.a:up', gradient.slice(4)],
				]),
			};
		},
		close: async () => {},
	};
	return model;
}

/** Seven pictures in two buckets; the crop and the flip are in the latents, so that losing a draw shows. */
export function fakeExamples(prefix = 'picture', count = 7): ExampleSource {
	return {
		examples: Array.from({ length: count }, (_, i) => ({
			name: `${prefix}-${i}.png`,
			bucket: i < 4 ? 'wide' : 'tall',
			captions: [`a ${i}`, `b ${i}`],
		})),
		latents: async (index, _bucket, augment) => {
			const [x = 0, y = 0, flip = 0] = augment?.rand(3) ?? [];
			return {
				shape: FAKE_SHAPE,
				mean: Float32Array.from({ length: SIZE }, (_, i) => Math.sin(index + i) + x / 10 + y / 20 + flip / 40),
				logvar: new Float32Array(SIZE).fill(-3),
			};
		},
	};
}

export function fakeBatches(
	seed = 7,
	extra: Partial<Parameters<typeof createDiffusionBatches>[0]> = {},
): ReturnType<typeof createDiffusionBatches> {
	return createDiffusionBatches({
		examples: fakeExamples(),
		batchSize: 2,
		minTimestep: 0,
		maxTimestep: 1000,
		noiseOffset: 0.1,
		scalingFactor: 0.18215,
		text: async (captions) => ({
			states: f32Tensor(
				[captions.length, 1, 1],
				Float32Array.from(captions, (c) => c.length),
			),
		}),
		streams: createRandomStreams(seed),
		...extra,
	});
}

/** A run over the fake model. Each call makes everything anew. */
export function fakeRun(
	overrides: Partial<TrainRunOptions> & {
		readonly optimizerOptions?: OptimizerOptionsInput;
		readonly averageOf?: (model: TrainingModel) => EmaModel;
	} = {},
): TrainRunOptions & { readonly model: FakeModel } {
	const { optimizerOptions = { kind: 'adamw' }, averageOf, ...rest } = overrides;
	const model = (overrides.model as FakeModel | undefined) ?? fakeModel();
	return {
		optimizer: createOptimizer(optimizerOptions, model.tensors),
		batches: fakeBatches(),
		steps: 30,
		timing: { rule: 'diffusers', accumulation: 1 },
		rates: (index) => ({ unet: 0.01 * (1 - index / 40), text_encoder: 0.005 }),
		maxGradNorm: 1,
		average: averageOf?.(model),
		...rest,
		model,
	};
}
