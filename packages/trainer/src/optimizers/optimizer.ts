import type { HostTensor } from '@lorakit/runtime';
import type { ParameterGroup } from '../model/trainable-tensor.js';

/** Changes tensors by their gradients. It holds them from the time it is made. */
export interface Optimizer {
	/** `adamw`, `adamw8bit`, `prodigy`. */
	readonly kind: string;
	/**
	 * One step: values of the tensors change in place.
	 * @param gradients by tensor name, after clipping; a tensor that has none is left as it is
	 * @param rates the learning rate of each group at this step
	 */
	step(gradients: ReadonlyMap<string, Float32Array>, rates: Readonly<Partial<Record<ParameterGroup, number>>>): void;
	/** Everything that decides later steps, by stable names; restored, the run goes on bit by bit as if never stopped. */
	state(): ReadonlyMap<string, HostTensor | StateBytes>;
	/** @throws {FormatError} `E_CONFIG`: not the state of this optimizer over these tensors */
	restore(state: ReadonlyMap<string, HostTensor | StateBytes>): void;
}

/** Quantised state. */
export interface StateBytes {
	readonly dtype: 'u8';
	readonly shape: readonly number[];
	readonly data: Uint8Array;
}
