import { kernel } from '../kernel/index.js';
import { tridiagonalAll, tridiagonalValues, tridiagonalVectors } from './tridiagonal-eigen.js';

/** Above this share of the vectors, all of them are quicker made than some. */
const PARTIAL_SHARE = 0.34;

/** Eigenvalues of a symmetric matrix, descending, and as many leading eigenvectors as asked. */
export interface SymmetricEigen {
	/** All n, each to a few units in the last place of the largest. */
	readonly values: Float64Array;
	/** The first `count` eigenvectors, one to a row: (count, n). */
	leading(count: number): Float64Array;
}

/**
 * Eigenvalues now, eigenvectors when asked. Only the upper triangle of `a` is read; its entries must be neither so
 * large nor so small that squares over- or underflow.
 */
export function symmetricEigen(a: Float64Array, n: number): SymmetricEigen {
	const { dense } = kernel();
	const form = dense.tridiagonalise(a, n);
	const values = tridiagonalValues(form);
	return {
		values,
		leading(count) {
			const some = count <= n * PARTIAL_SHARE ? tridiagonalVectors(form, values.subarray(0, count)) : undefined;
			const z = some ?? tridiagonalAll(form).vectors.slice(0, count * n);
			dense.reflectRows(form.q, z, count);
			return z;
		},
	};
}
