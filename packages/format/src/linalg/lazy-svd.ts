import type { Matrix } from '../families/matrix.js';
import { kernel } from '../kernel/index.js';
import type { Svd } from './low-rank.js';
import { transposed } from './matrix-tools.js';
import { smallSvd } from './small-svd.js';
import { multiplyQ, qrOfTransposed } from './thin-qr.js';

/** All singular values of a matrix, and as many leading triplets as are asked for later. */
export interface LazySvd {
	/** k = min(rows, cols, rank of the factors), descending. */
	readonly values: Float64Array;
	/** Sum of squares of all elements (of all values): what is not in the kept triplets is the true squared error. */
	readonly squaredNorm: number;
	/** The first `count` (at most k) triplets: u (rows, count), s, v (cols, count). */
	leading(count: number): Svd;
}

/** One rounding of a double, times what a sum of a thousand of them may gather. */
export const GATHERED_ROUNDING: number = 8 * 2.220446049250313e-16;
/** Error of a singular value, relative to the largest, that the short ways through Gram matrices may make. */
export const VALUE_TOLERANCE: number = 1e-11;
/** Departure of u and v from orthonormal beyond which they are refined. */
export const VECTOR_TOLERANCE: number = 1e-12;

/**
 * True where triplets from a Gram matrix, refined, have values right to `VALUE_TOLERANCE` down to `share` of the
 * largest: eigenvectors are off by rounding / share^2, values by the square of that.
 */
export function refinable(share: number, rounding: number): boolean {
	return share > 0 && share * (rounding / (share * share)) ** 2 <= VALUE_TOLERANCE;
}

/** True where square roots of eigenvalues are right to `VALUE_TOLERANCE` down to `share` of the largest. */
export function rootable(share: number, rounding: number): boolean {
	return share > 0 && rounding <= 2 * VALUE_TOLERANCE * share;
}

/** Square roots, of what is positive. */
export function rootsOf(eigenvalues: Float64Array, count: number): Float64Array {
	return Float64Array.from({ length: count }, (_, i) => Math.sqrt(Math.max(0, eigenvalues[i] ?? 0)));
}

/** Smallest first would be better by a digit that nobody needs. */
export function sumOfSquares(x: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < x.length; i++) sum += (x[i] as number) ** 2;
	return sum;
}

/** Rows divided by their singular values. */
export function divideRows(rows: Float64Array, values: Float64Array, cols: number): void {
	for (let i = 0; i < values.length; i++) {
		const f = 1 / (values[i] as number);
		for (let j = i * cols; j < (i + 1) * cols; j++) rows[j] = (rows[j] as number) * f;
	}
}

/**
 * Triplets of the best approximation of a matrix within a space of right vectors (Rayleigh, Ritz): where the space
 * is near the right one, the values are right to the square of the distance.
 *
 * @param space vectors, one to a row (count, cols); independent, not necessarily orthonormal
 * @param apply the matrix times (cols, count)
 */
export function refine(space: Matrix, apply: (x: Matrix) => Matrix): Svd {
	const { q, r } = qrOfTransposed(space);
	const count = r.rows;
	const unit = new Float64Array(count * count);
	for (let i = 0; i < count; i++) unit[i * count + i] = 1;
	const basis = transposed(multiplyQ(q, unit, count));
	const { u, s, v: turn } = smallSvd(apply(basis));
	return { u, s, v: { ...basis, data: kernel().multiply(basis.data, turn.data, basis.rows, count, count) } };
}

/** The first columns of a decomposition. */
export function firstTriplets({ u, s, v }: Svd, count: number): Svd {
	return count >= s.length ? { u, s, v } : { u: firstColumns(u, count), s: s.slice(0, count), v: firstColumns(v, count) };
}

function firstColumns(m: Matrix, cols: number): Matrix {
	const data = new Float64Array(m.rows * cols);
	for (let i = 0; i < m.rows; i++) data.set(m.data.subarray(i * m.cols, i * m.cols + cols), i * cols);
	return { rows: m.rows, cols, data };
}

/** A decomposition times a number. */
export function scaleValues(svd: Svd, factor: number): Svd {
	return factor === 1 ? svd : { ...svd, s: svd.s.map((x) => x * factor) };
}

/** The number of triplets that can be had, of those asked for. */
export function clampCount(count: number, most: number): number {
	return Math.max(0, Math.min(most, Math.floor(count)));
}
