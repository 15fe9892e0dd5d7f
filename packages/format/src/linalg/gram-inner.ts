import { FormatError } from '../errors.js';
import type { Matrix } from '../families/matrix.js';
import { kernel } from '../kernel/index.js';
import type { LowRank } from './low-rank.js';
import { transposed } from './matrix-tools.js';

/**
 * Sum of products of all elements of two deltas, <B1 A1, B2 A2> = trace((B2^T B1) (A1 A2^T)), in
 * O((out + in) r1 r2): nothing of size (out, in) is made. Error about 1e-15 |B1| |A1| |B2| |A2|.
 *
 * @throws {FormatError} `E_LORA_SHAPE` when the two are not of one size.
 */
export function innerProduct(a: LowRank, b: LowRank): number {
	if (a.up.rows !== b.up.rows || a.down.cols !== b.down.cols) {
		throw new FormatError(
			'E_LORA_SHAPE',
			`A delta of (${a.up.rows}, ${a.down.cols}) cannot be compared with one of (${b.up.rows}, ${b.down.cols}); the adapters are for different bases.`,
		);
	}
	const ups = product(transposed(b.up), a.up);
	const downs = product(b.down, transposed(a.down));
	return dot(ups, downs);
}

/** Sum of squares of all elements of a delta. */
export function squaredNorm(a: LowRank): number {
	const g = kernel().gram(a.up.data, a.up.rows, a.up.cols);
	const h = kernel().gramOfRows(a.down.data, a.down.rows, a.down.cols);
	return Math.max(0, dot(g, h));
}

function product(a: Matrix, b: Matrix): Float64Array {
	return kernel().multiply(a.data, b.data, a.rows, a.cols, b.cols);
}

function dot(x: Float64Array, y: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < x.length; i++) sum += (x[i] as number) * (y[i] as number);
	return sum;
}
