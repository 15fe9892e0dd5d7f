import type { TrainableTensor } from './trainable-tensor.js';
import type { TrainingBatch } from './training-batch.js';

/** What a training loop steps on: a base, the tensors that are trained over it, an objective and an engine. */
export interface TrainingModel {
	/** Read at each call; the optimizer changes their values in place. */
	readonly tensors: readonly TrainableTensor[];
	/**
	 * The loss of a micro-batch and its gradients, by tensor name, float32.
	 * @throws {FormatError} `E_USAGE` for a batch that does not fit; those of loading a session for a new shape
	 */
	gradients(batch: TrainingBatch): Promise<LossAndGradients>;
	/** The loss alone: validation. @throws as `gradients` */
	loss(batch: TrainingBatch): Promise<Loss>;
	close(): Promise<void>;
}

export interface Loss {
	readonly loss: number;
	/** b mean squared errors, before weights. */
	readonly errors: Float32Array;
}

export interface LossAndGradients extends Loss {
	readonly gradients: ReadonlyMap<string, Float32Array>;
}
