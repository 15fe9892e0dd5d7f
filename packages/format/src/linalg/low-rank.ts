import type { Matrix } from '../families/matrix.js';

/**
 * A weight's delta as a product of two thin matrices of doubles, exactly: delta = up * down. Scaling and strength
 * are already in `up`. Nothing of size (out, in) is ever made.
 */
export interface LowRank {
	/** (out, r) */
	readonly up: Matrix;
	/** (r, in), convolutions (r, in * kh * kw) */
	readonly down: Matrix;
	/** Shape of the weight's delta: (out, in) or (out, in, kh, kw). */
	readonly shape: readonly number[];
}

/** Thin singular value decomposition: u (m, k), s (k) descending, v (n, k); a = u diag(s) v^T. */
export interface Svd {
	readonly u: Matrix;
	readonly s: Float64Array;
	readonly v: Matrix;
}
