/** Element types of numbers in host memory. `i32` stands for every index or token id. */
export type HostDType = 'f32' | 'f64' | 'i32';

/** Numbers with a shape, row-major, in host memory. The holder must not change `data` unless it made it. */
export interface HostTensor {
	readonly dtype: HostDType;
	readonly shape: readonly number[];
	/** As many elements as the shape says. */
	readonly data: Float32Array | Float64Array | Int32Array;
}

/** A float32 tensor over memory that is the caller's. @throws {RangeError} when the shape does not say the length. */
export function f32Tensor(shape: readonly number[], data: Float32Array): HostTensor {
	checkLength(shape, data.length);
	return { dtype: 'f32', shape, data };
}

/** An int32 tensor over memory that is the caller's. @throws {RangeError} when the shape does not say the length. */
export function i32Tensor(shape: readonly number[], data: Int32Array): HostTensor {
	checkLength(shape, data.length);
	return { dtype: 'i32', shape, data };
}

/** Elements of a shape. */
export function countOf(shape: readonly number[]): number {
	return shape.reduce((product, d) => product * d, 1);
}

function checkLength(shape: readonly number[], length: number): void {
	if (countOf(shape) !== length) throw new RangeError(`shape (${shape.join(', ')}) has not ${length} elements`);
}
