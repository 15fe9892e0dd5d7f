import type { HostTensor } from '@lorakit/runtime';
import type { StateBytes } from '../optimizers/optimizer.js';

export type SavedTensor = HostTensor | StateBytes;

/** The best measurement so far, and how many came after it. */
export interface BestMeasured {
	readonly step: number;
	readonly loss: number;
	readonly since: number;
}

/** Everything that a run needs to go on as if never stopped. Its tensors are those of the run: written before it goes on. */
export interface RunSnapshot {
	/** Optimizer steps that are done. */
	readonly step: number;
	/** `BatchSource.state()` before the next micro-batch. */
	readonly batches: unknown;
	/** `LossScaler.state()`; undefined without one. */
	readonly scaler: unknown;
	readonly best: BestMeasured | undefined;
	/** The measurement of this step was interrupted: it comes before the next step. */
	readonly validationDue: boolean;
	/** By `tensors/NAME`, `optimizer/NAME`, `average/NAME`, `best/NAME`. */
	readonly tensors: ReadonlyMap<string, SavedTensor>;
	/** The values that are the adapter now: the moving mean where there is one. */
	readonly adapter: ReadonlyMap<string, Float32Array>;
}

/** Those of a prefix, without it. */
export function underPrefix(tensors: ReadonlyMap<string, SavedTensor>, prefix: string): ReadonlyMap<string, SavedTensor> {
	return new Map(
		[...tensors].flatMap(([name, tensor]) => (name.startsWith(`${prefix}/`) ? [[name.slice(prefix.length + 1), tensor] as const] : [])),
	);
}
