import type { WritableFloat } from '../half.js';
import type { DenseKernel } from './dense-kernel.js';

/** What rounding a block told. */
export interface RoundingTally {
	/** Results that are Inf or NaN although base and delta are finite: the stored type cannot hold them. */
	readonly overflowed: number;
	/** Elements whose base or delta was not finite. */
	readonly nonFinite: number;
}

/**
 * The heavy inner loops, in two implementations that give the same bits: `typescript` (the reference, always there)
 * and `wasm-simd`. No fused multiply-add, every sum in the stated order, so a delta that is computed again somewhere
 * else is the same delta: `unfuse` rests on that.
 */
export interface Kernel {
	readonly id: 'typescript' | 'wasm-simd';
	/** Loops of the linear algebra. */
	readonly dense: DenseKernel;
	/**
	 * acc[i, j] += scale * (sum over k = 0, 1, ... of up[i, k] * down[k, j]); the sum starts from the first product.
	 * @param acc (rows, cols), @param up (rows, rank), @param down (rank, cols), all row by row
	 */
	addProduct(acc: Float64Array, up: Float64Array, down: Float64Array, rows: number, rank: number, cols: number, scale: number): void;
	/** Out-of-place a (rows, inner) times b (inner, cols); order of sums not promised. */
	multiply(a: Float64Array, b: Float64Array, rows: number, inner: number, cols: number): Float64Array;
	/** a^T a of a (rows, cols) matrix: (cols, cols), symmetric. Order of sums not promised. */
	gram(a: Float64Array, rows: number, cols: number): Float64Array;
	/** a a^T of a (rows, cols) matrix: (rows, rows), symmetric. Order of sums not promised. */
	gramOfRows(a: Float64Array, rows: number, cols: number): Float64Array;
	/**
	 * Elements of `bytes` become the nearest to (element + delta), the sum being a double: `encodeFloats(decodeFloats + delta)`.
	 * NaN is written as the positive quiet one. `bytes` is changed.
	 */
	addRounded(dtype: WritableFloat, bytes: Uint8Array, delta: Float64Array): RoundingTally;
	/** As `decodeFloats`, for the float types that arithmetic results are written in. */
	decode(dtype: WritableFloat, bytes: Uint8Array): Float64Array;
}
