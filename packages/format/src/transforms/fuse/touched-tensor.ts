import type { BaseTensorFile } from '../../bases/base-model.js';
import type { Tensor } from '../../tensor.js';

/** A tensor of the base that adapters change, and by how much. Made by `planFuse`. */
export interface TouchedTensor {
	readonly file: BaseTensorFile;
	/** Its name in that file. */
	readonly name: string;
	/** The base's tensor. */
	readonly tensor: Tensor;
	/** `component path` of every module that changes it, for messages. */
	readonly modules: readonly string[];
	/** True when the delta is a function of the base's values (DoRA, IA3, OFT, GLoRA, whole): `base` is then needed below. */
	readonly needsBase: boolean;
	/** Rows of the first axis to do at a time so that doubles stay within a few tens of MB (a scalar or vector: all of it). */
	readonly blockRows: number;
	/**
	 * The sum of all deltas with all strengths, in float64, of rows [from, to) of the first axis of the stored tensor,
	 * in its stored order. Deterministic: the same bits on every machine.
	 * @param base all bytes of the base's tensor; only used where `needsBase`
	 */
	delta(from: number, to: number, base?: Uint8Array): Promise<Float64Array>;
}
