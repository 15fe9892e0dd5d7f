import type { Matrix } from '../../families/matrix.js';
import { kernel } from '../../kernel/index.js';

/** A product as it should be, and its factors as they are stored, all in doubles. */
export interface StoredProduct {
	readonly up: Matrix;
	readonly down: Matrix;
	readonly storedUp: Float64Array;
	readonly storedDown: Float64Array;
}

/**
 * |stored - exact| / |exact| in the Frobenius norm, for two products of thin matrices. No delta is made, and nothing cancels: with E, F
 * the rounding of up and down, stored - exact = E (D + F) + U F is one product of the factors [E | U] and
 * [D + F ; F], whose squared norm is the sum of the products of two Gram matrices.
 *
 * @returns 0 when nothing was rounded; null when exact is 0 and stored is not
 */
export function roundingError({ up, down, storedUp, storedDown }: StoredProduct): number | null {
	const e = difference(storedUp, up.data);
	const f = difference(storedDown, down.data);
	if (e === undefined && f === undefined) return 0;
	const rank = up.cols;
	const whole = traceOfProduct(columnGram(up), rowGram(down));
	let squared: Trace;
	if (f === undefined) squared = traceOfProduct(columnGram({ ...up, data: e ?? new Float64Array(0) }), rowGram(down));
	else {
		const left: Matrix = { rows: up.rows, cols: 2 * rank, data: sideBySide(up.rows, rank, e ?? new Float64Array(up.data.length), up.data) };
		const right = new Float64Array(2 * down.data.length);
		right.set(storedDown);
		right.set(f, down.data.length);
		squared = traceOfProduct(columnGram(left), rowGram({ rows: 2 * rank, cols: down.cols, data: right }));
	}
	return ratioOfTraces(squared, whole);
}

/**
 * |a - b| / |a| of two products of thin matrices, through Gram matrices. Differences below 1e-8 of the norm drown in rounding.
 * @returns null when a is 0 and b is not
 */
export function productDistance(
	a: { readonly up: Matrix; readonly down: Matrix },
	b: { readonly up: Matrix; readonly down: Matrix },
): number | null {
	const rank = a.up.cols + b.up.cols;
	const { rows } = a.up;
	const left = new Float64Array(rows * rank);
	for (let i = 0; i < rows; i++) {
		left.set(a.up.data.subarray(i * a.up.cols, (i + 1) * a.up.cols), i * rank);
		for (let j = 0; j < b.up.cols; j++) left[i * rank + a.up.cols + j] = -(b.up.data[i * b.up.cols + j] ?? 0);
	}
	const right = new Float64Array(rank * a.down.cols);
	right.set(a.down.data);
	right.set(b.down.data, a.down.data.length);
	const squared = traceOfProduct(columnGram({ rows, cols: rank, data: left }), rowGram({ rows: rank, cols: a.down.cols, data: right }));
	return ratioOfTraces(squared, traceOfProduct(columnGram(a.up), rowGram(a.down)));
}

/** |stored - exact| / |exact| of two arrays. @returns null when exact is 0 and stored is not */
export function arrayError(exact: Float64Array, stored: Float64Array): number | null {
	let squared = 0;
	let whole = 0;
	for (let i = 0; i < exact.length; i++) {
		const x = exact[i] as number;
		const d = (stored[i] as number) - x;
		whole += x * x;
		squared += d * d;
	}
	return ratio(squared, whole);
}

/** A sum, and the sum of its terms' magnitudes, which says how much of it may be rounding. */
interface Trace {
	readonly sum: number;
	readonly magnitude: number;
}

/** Below this share of its terms a sum is rounding. */
const NOISE = 2 ** -44;
/** Below this share of its terms a squared norm is what was left over when parts cancelled out. */
const CANCELLED = 2 ** -8;

/** `ratio` where the parts of `whole` may cancel out, so that rounding would look like a large error of nothing. */
function ratioOfTraces(squared: Trace, whole: Trace): number | null {
	if (whole.sum < CANCELLED * whole.magnitude && squared.sum <= NOISE * squared.magnitude) return 0;
	return ratio(squared.sum, whole.sum <= NOISE * whole.magnitude ? 0 : whole.sum);
}

function ratio(squared: number, whole: number): number | null {
	if (!(squared > 0)) return 0;
	return whole > 0 ? Math.sqrt(squared / whole) : null;
}

function difference(a: Float64Array, b: Float64Array): Float64Array | undefined {
	let out: Float64Array | undefined;
	for (let i = 0; i < a.length; i++) {
		const d = (a[i] ?? 0) - (b[i] ?? 0);
		if (d === 0) continue;
		out ??= new Float64Array(a.length);
		out[i] = d;
	}
	return out;
}

function sideBySide(rows: number, cols: number, a: Float64Array, b: Float64Array): Float64Array {
	const out = new Float64Array(2 * rows * cols);
	for (let i = 0; i < rows; i++) {
		out.set(a.subarray(i * cols, (i + 1) * cols), 2 * i * cols);
		out.set(b.subarray(i * cols, (i + 1) * cols), (2 * i + 1) * cols);
	}
	return out;
}

/** a^T a. */
function columnGram(m: Matrix): Float64Array {
	return kernel().gram(m.data, m.rows, m.cols);
}

/** a a^T. */
function rowGram(m: Matrix): Float64Array {
	return kernel().gramOfRows(m.data, m.rows, m.cols);
}

function traceOfProduct(a: Float64Array, b: Float64Array): Trace {
	let sum = 0;
	let magnitude = 0;
	for (let i = 0; i < a.length; i++) {
		const term = (a[i] ?? 0) * (b[i] ?? 0);
		sum += term;
		magnitude += Math.abs(term);
	}
	return { sum, magnitude };
}
