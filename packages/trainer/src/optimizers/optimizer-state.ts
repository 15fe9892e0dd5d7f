import { FormatError, quote } from '@lorakit/format';
import { countOf, f32Tensor, type HostTensor, i32Tensor } from '@lorakit/runtime';
import type { StateBytes } from './optimizer.js';

/** What `Optimizer.state` gives and `restore` takes. */
export type OptimizerState = ReadonlyMap<string, HostTensor | StateBytes>;

/** One number of a state, in full precision. */
export function f64Entry(value: number): HostTensor {
	return { dtype: 'f64', shape: [1], data: Float64Array.of(value) };
}

/** One count of a state. */
export function i32Entry(value: number): HostTensor {
	return i32Tensor([1], Int32Array.of(value));
}

/** A copy: a checkpoint may be written while the next step runs. */
export function f32Entry(shape: readonly number[], data: Float32Array): HostTensor {
	return f32Tensor(shape, data.slice());
}

/** A copy, as `f32Entry`. */
export function u8Entry(shape: readonly number[], data: Uint8Array): StateBytes {
	return { dtype: 'u8', shape, data: data.slice() };
}

/**
 * Reads a state entry by entry; each is checked for being there, its dtype and its shape. Nothing is copied, so an
 * optimizer changes only after the whole state was found good.
 */
export class StateReader {
	readonly #state: OptimizerState;
	readonly #kind: string;
	readonly #read = new Set<string>();

	/** @param kind for messages */
	constructor(state: OptimizerState, kind: string) {
		this.#state = state;
		this.#kind = kind;
	}

	/** @throws {FormatError} `E_CONFIG` */
	f32(name: string, shape: readonly number[]): Float32Array {
		const { data } = this.#entry(name, 'f32', shape);
		if (!(data instanceof Float32Array)) throw this.#wrong(name, 'other memory than its dtype says');
		return data;
	}

	/** @throws {FormatError} `E_CONFIG` */
	u8(name: string, shape: readonly number[]): Uint8Array {
		const { data } = this.#entry(name, 'u8', shape);
		if (!(data instanceof Uint8Array)) throw this.#wrong(name, 'other memory than its dtype says');
		return data;
	}

	/** A finite number of at least `min`. @throws {FormatError} `E_CONFIG` */
	number(name: string, min: number = Number.NEGATIVE_INFINITY): number {
		const value = this.#entry(name, 'f64', [1]).data[0];
		if (value === undefined || !Number.isFinite(value) || value < min) throw this.#wrong(name, `the value ${value}`);
		return value;
	}

	/** A whole number of at least 0. @throws {FormatError} `E_CONFIG` */
	count(name: string): number {
		const value = this.#entry(name, 'i32', [1]).data[0];
		if (value === undefined || !Number.isInteger(value) || value < 0) throw this.#wrong(name, `the value ${value}`);
		return value;
	}

	/** Call after the last entry. @throws {FormatError} `E_CONFIG` when the state holds anything that was not read */
	finish(): void {
		for (const name of this.#state.keys()) {
			if (this.#read.has(name)) continue;
			throw new FormatError(
				'E_CONFIG',
				`The state holds ${quote(name)}, which ${this.#kind} over these tensors does not have; resume with the settings of the checkpoint's run.`,
				{ at: name },
			);
		}
	}

	#entry(name: string, dtype: string, shape: readonly number[]): HostTensor | StateBytes {
		const entry = this.#state.get(name);
		if (entry === undefined) throw this.#wrong(name, 'no such entry');
		if (entry.dtype !== dtype || entry.shape.length !== shape.length || entry.shape.some((d, i) => d !== shape[i])) {
			throw this.#wrong(name, `${entry.dtype} (${entry.shape.join(', ')}) for ${dtype} (${shape.join(', ')})`);
		}
		if (entry.data.length !== countOf(shape)) throw this.#wrong(name, `${entry.data.length} elements for ${countOf(shape)}`);
		this.#read.add(name);
		return entry;
	}

	#wrong(name: string, found: string): FormatError {
		return new FormatError(
			'E_CONFIG',
			`The state does not fit ${this.#kind} over these tensors: ${quote(name)} has ${found}; resume with the settings of the checkpoint's run.`,
			{ at: name },
		);
	}
}
