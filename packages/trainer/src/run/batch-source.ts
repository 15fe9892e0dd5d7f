import type { TrainingBatch } from '../model/training-batch.js';

/** A micro-batch, and what is to be said about it. */
export interface MicroBatch {
	readonly batch: TrainingBatch;
	/** Names of its pictures, as `DatasetItem.name`. */
	readonly names: readonly string[];
	/** From 0. */
	readonly epoch: number;
	readonly lastOfEpoch: boolean;
}

/** Micro-batches without end, everything random in them drawn by the source. */
export interface BatchSource {
	next(): Promise<MicroBatch>;
	/** Everything that decides later batches, as plain JSON data. */
	state(): unknown;
	/** @throws {FormatError} `E_FORMAT`: not the state of this source */
	restore(state: unknown): void;
}
