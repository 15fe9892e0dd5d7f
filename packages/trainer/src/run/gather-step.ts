import type { LossAndGradients, TrainingModel } from '../model/training-model.js';
import { GradientAccumulator } from '../optimizers/gradient-accumulator.js';
import type { LossScaler } from '../optimizers/loss-scaler.js';
import type { BatchSource } from './batch-source.js';
import { isInterruption } from './interruption.js';
import type { NonFinite } from './non-finite.js';
import { microBatchesOf, type StepTiming } from './step-rule.js';

/** The micro-batches of one optimizer step, computed. */
export interface Gathered {
	/** Mean of the micro-batches. */
	readonly loss: number;
	/** By tensor; changed in place by what follows. */
	readonly gradients: ReadonlyMap<string, Float32Array>;
	readonly names: readonly string[];
	readonly timesteps: readonly number[];
	readonly epoch: number;
	readonly samples: number;
}

/** Something in the step is not finite. */
export interface Overflow {
	readonly overflow: NonFinite;
}

/**
 * Computes a step's micro-batches, one after the other: stops at once at a loss that is no number, and gives the step up when the
 * signal is aborted between two of them.
 */
export function gatherer(
	model: TrainingModel,
	batches: BatchSource,
	timing: StepTiming,
	scaler: LossScaler | undefined,
	signal: AbortSignal | undefined,
): (step: number) => Promise<Gathered | Overflow | 'stopped'> {
	const accumulator = new GradientAccumulator(model.tensors, timing.accumulation);
	return async (step) => {
		// What a step that was given up left behind.
		accumulator.take();
		const wanted = microBatchesOf(timing, step);
		const names: string[] = [];
		const timesteps: number[] = [];
		let sum = 0;
		let count = 0;
		let epoch = 0;
		for (;;) {
			const micro = await batches.next();
			epoch = micro.epoch;
			names.push(...micro.names);
			timesteps.push(...micro.batch.timesteps);
			const scale = scaler?.scale ?? 1;
			const batch = scale === 1 ? micro.batch : { ...micro.batch, weights: micro.batch.weights.map((weight) => weight * scale) };
			let result: LossAndGradients;
			try {
				result = await model.gradients(batch);
			} catch (error) {
				if (isInterruption(error, signal)) return 'stopped';
				throw error;
			}
			const loss = result.loss / scale;
			if (!Number.isFinite(loss)) {
				const bad: NonFinite = { what: 'loss', loss, names: micro.names, timesteps: micro.batch.timesteps };
				return { overflow: bad };
			}
			accumulator.add(loss, result.gradients);
			sum += loss;
			count++;
			if (count === wanted || (timing.rule === 'diffusers' && micro.lastOfEpoch)) break;
			if (signal?.aborted === true) return 'stopped';
		}
		const { gradients } = accumulator.take();
		const loss = sum / count;
		if (scaler !== undefined && !scaler.unscale(gradients)) {
			return { overflow: { what: 'gradient', loss, names, timesteps, tensor: firstNonFinite(gradients) } };
		}
		return { loss, gradients, names, timesteps, epoch, samples: timesteps.length };
	};
}

function firstNonFinite(gradients: ReadonlyMap<string, Float32Array>): string | undefined {
	for (const [name, values] of gradients) if (!values.every(Number.isFinite)) return name;
	return undefined;
}
