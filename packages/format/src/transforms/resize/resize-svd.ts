import type { Matrix } from '../../families/matrix.js';
import { allocate } from '../../families/matrix.js';
import type { Svd } from '../../linalg/low-rank.js';
import { lazySvdOfProduct, singularValuesOfProduct, svdOfProduct } from '../../linalg/svd-of-product.js';
import type { DeltaProduct, MatrixPair } from '../product/delta-product.js';

/** Singular values of a delta without its scaling, descending: as many as its product has rank. */
export function singularValuesOf(where: string, delta: DeltaProduct): Float64Array {
	if (delta.kind === 'product') return singularValuesOfProduct(delta.factors.up, delta.factors.down, { where });
	const [one, two] = delta.factors;
	const pairs = productsOf(singularValuesOfProduct(one.up, one.down, { where }), singularValuesOfProduct(two.up, two.down, { where }));
	return Float64Array.from(pairs, ({ value }) => value);
}

/** The leading singular triples of a delta, and the energy of all. */
export interface PartialSvd {
	/** u (out, k), s (k), v (in, k). */
	readonly svd: Svd;
	/** Sum of the squares of every singular value. */
	readonly total: number;
	/** Sum of the squares of those that are not in `svd`. */
	readonly rest: number;
}

/** Below this share of the whole, total - kept is mostly rounding: the values themselves are summed. */
const CANCELLED = 1e-7;

/**
 * Decompose a delta. Where the rank is not a number, it is told every singular value and says how many triples to make.
 * A Kronecker product is decomposed by its halves: u_i (x) u_j, s_i s_j, v_i (x) v_j.
 */
export function decompose(where: string, delta: DeltaProduct, rank: number | ((values: Float64Array) => number)): PartialSvd {
	if (delta.kind === 'kron') return decomposeKron(where, delta.factors, rank);
	const { up, down } = delta.factors;
	if (typeof rank === 'number') {
		const quick = lazySvdOfProduct(up, down, { where, allValues: false });
		const svd = quick.leading(rank);
		const total = quick.squaredNorm;
		const rest = total - sumOfSquares(svd.s, 0);
		if (rest > CANCELLED * total) return { svd, total, rest };
	}
	const lazy = lazySvdOfProduct(up, down, { where });
	const count = typeof rank === 'number' ? rank : rank(lazy.values);
	return { svd: lazy.leading(count), total: sumOfSquares(lazy.values, 0), rest: sumOfSquares(lazy.values, count) };
}

function decomposeKron(
	where: string,
	[one, two]: readonly [MatrixPair, MatrixPair],
	rank: number | ((values: Float64Array) => number),
): PartialSvd {
	const a = svdOfProduct(one.up, one.down, { where });
	const b = svdOfProduct(two.up, two.down, { where });
	const pairs = productsOf(a.s, b.s);
	const values = Float64Array.from(pairs, ({ value }) => value);
	const count = Math.min(values.length, typeof rank === 'number' ? rank : rank(values));
	const kept = pairs.slice(0, count);
	return {
		svd: { u: kronColumns(where, a.u, b.u, kept), s: values.slice(0, count), v: kronColumns(where, a.v, b.v, kept) },
		total: sumOfSquares(values, 0),
		rest: sumOfSquares(values, count),
	};
}

function sumOfSquares(values: Float64Array, from: number): number {
	let sum = 0;
	for (let i = from; i < values.length; i++) sum += (values[i] ?? 0) ** 2;
	return sum;
}

interface ValuePair {
	readonly value: number;
	readonly i: number;
	readonly j: number;
}

/** All products of two lists of singular values, largest first. */
function productsOf(a: Float64Array, b: Float64Array): ValuePair[] {
	const pairs: ValuePair[] = [];
	a.forEach((x, i) => {
		b.forEach((y, j) => {
			pairs.push({ value: x * y, i, j });
		});
	});
	return pairs.sort((p, q) => q.value - p.value || p.i - q.i || p.j - q.j);
}

/** Column n of the result is a[:, i] (x) b[:, j]. */
function kronColumns(where: string, a: Matrix, b: Matrix, pairs: readonly ValuePair[]): Matrix {
	const cols = pairs.length;
	const data = allocate(where, a.rows * b.rows * cols);
	pairs.forEach(({ i, j }, n) => {
		for (let p = 0; p < a.rows; p++) {
			const x = a.data[p * a.cols + i] ?? 0;
			for (let q = 0; q < b.rows; q++) data[(p * b.rows + q) * cols + n] = x * (b.data[q * b.cols + j] ?? 0);
		}
	});
	return { rows: a.rows * b.rows, cols, data };
}
