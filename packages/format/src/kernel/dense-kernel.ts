/** An orthogonal matrix q = H_0 H_1 ... of reflections H_k = 1 - factor v v^T. */
export interface Reflections {
	/** (rows, cols): row k holds the vector of H_k from column k + shift on. */
	readonly vectors: Float64Array;
	readonly cols: number;
	readonly shift: 0 | 1;
	/** One for each reflection. */
	readonly factors: Float64Array;
}

/** A symmetric matrix as q T q^T, T tridiagonal. */
export interface Tridiagonal {
	readonly n: number;
	/** (n) */
	readonly diagonal: Float64Array;
	/** (n); the last is 0. */
	readonly offDiagonal: Float64Array;
	readonly q: Reflections;
}

/** Loops over small dense matrices, row by row. Order of sums not promised. */
export interface DenseKernel {
	/**
	 * Upper triangular r with a = r^T r for symmetric positive definite a (n, n), and the smallest pivot relative to its
	 * diagonal element before elimination: 0 when a is not positive definite (r is then of no use).
	 */
	cholesky(a: Float64Array, n: number): { readonly r: Float64Array; readonly quality: number };
	/** r g r^T for upper triangular r and symmetric g, all (n, n). Only the upper triangle of the result counts. */
	sandwich(r: Float64Array, g: Float64Array, n: number): Float64Array;
	/** Tridiagonal form of symmetric a (n, n), of which only the upper triangle is read. Squares must not over- or underflow. */
	tridiagonalise(a: Float64Array, n: number): Tridiagonal;
	/**
	 * QR factors of a^T, a (rows, cols): r (min(rows, cols), rows) upper triangular, and q as reflections.
	 * Squares must not over- or underflow.
	 */
	qrOfRows(a: Float64Array, rows: number, cols: number): { readonly q: Reflections; readonly r: Float64Array };
	/** Rows of z (count, q.cols), in place, become rows of z q^T. */
	reflectRows(q: Reflections, z: Float64Array, count: number): void;
	/**
	 * QL sweeps on the rows of z (rows, cols), in place: sweep s turns rows (i, i + 1) for i = from, from - 1, ..., `count` times.
	 * @param sweeps (from, count) of each sweep
	 * @param pairs (cosine, sine) of each turn
	 */
	rotateRows(z: Float64Array, cols: number, sweeps: readonly (readonly [from: number, count: number])[], pairs: Float64Array): void;
	/**
	 * Turn the rows of a (rows, cols), in place, until their first `width` numbers are orthogonal to each other
	 * relative to their lengths. Returns the number of sweeps, or Infinity when it did not settle.
	 */
	orthogonaliseRows(a: Float64Array, rows: number, cols: number, width: number): number;
}

/** Sweeps of Jacobi; ten are many. */
export const MAX_JACOBI_SWEEPS: number = 60;

/** Cosine between two rows that counts as orthogonal. */
export function jacobiTolerance(width: number): number {
	return 2.3e-16 * Math.max(4, Math.sqrt(width));
}
