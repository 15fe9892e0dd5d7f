import { FormatError } from '../errors.js';
import { allocate, type Matrix } from '../families/matrix.js';
import { kernel } from '../kernel/index.js';
import { denseSvd } from './dense-svd.js';
import {
	clampCount,
	divideRows,
	firstTriplets,
	GATHERED_ROUNDING,
	type LazySvd,
	refinable,
	refine,
	rootable,
	rootsOf,
	sumOfSquares,
	VECTOR_TOLERANCE,
} from './lazy-svd.js';
import type { Svd } from './low-rank.js';
import { largestMagnitude, powerScale, scaled, transposed } from './matrix-tools.js';
import { smallSvd } from './small-svd.js';
import { type SymmetricEigen, symmetricEigen } from './symmetric-eigen.js';
import { multiplyQ, qrOfTransposed } from './thin-qr.js';

/** Squares of factors outside these bounds could over- or underflow: they are scaled first. */
const LARGEST_SQUARE = 1e120;
const SMALLEST_SQUARE = 1e-120;

export interface SvdOptions {
	/** Leading triplets wanted; all k when left out. */
	readonly rank?: number | undefined;
	/** What to call the delta in an error: `component path`. */
	readonly where?: string | undefined;
}

/**
 * Thin SVD of up * down, (out, r) times (r, in), without making it: k = min(r, out, in) values, or the `rank` leading
 * ones. Values are right to 1e-10 (in practice 1e-13) of the largest, u and v orthonormal to 1e-11.
 *
 * @throws {FormatError} `E_NONFINITE` for factors with NaN or Inf, `E_LORA_SHAPE` when they do not fit, `E_LIMIT`.
 */
export function svdOfProduct(up: Matrix, down: Matrix, options: SvdOptions = {}): Svd {
	const rank = options.rank ?? Number.POSITIVE_INFINITY;
	return decompose(up, down, options.where ?? 'the delta', options.rank === undefined).leading(rank);
}

/** All k singular values of up * down, descending. @throws as `svdOfProduct`. */
export function singularValuesOfProduct(up: Matrix, down: Matrix, options: Pick<SvdOptions, 'where'> = {}): Float64Array {
	return decompose(up, down, options.where ?? 'the delta', true).values;
}

export interface LazySvdOptions extends Pick<SvdOptions, 'where'> {
	/** False when only `squaredNorm` and `leading` will be used: `values` may then be rough, and less work is done. */
	readonly allValues?: boolean | undefined;
}

/** All k singular values of up * down now, leading triplets when their number is known. @throws as `svdOfProduct`. */
export function lazySvdOfProduct(up: Matrix, down: Matrix, options: LazySvdOptions = {}): LazySvd {
	return decompose(up, down, options.where ?? 'the delta', options.allValues ?? true);
}

function decompose(up: Matrix, down: Matrix, where: string, allValues: boolean): LazySvd {
	if (up.cols !== down.rows) {
		throw new FormatError(
			'E_LORA_SHAPE',
			`${where}: an up of (${up.rows}, ${up.cols}) cannot multiply a down of (${down.rows}, ${down.cols}); the ranks differ.`,
		);
	}
	const r = up.cols;
	if (r === 0 || up.rows === 0 || down.cols === 0) return nothing(up.rows, down.cols);
	// Factors wider than the delta: the delta itself is the smaller thing.
	if (r > Math.min(up.rows, down.cols)) {
		const data = allocate(where, up.rows * down.cols);
		largestMagnitude(where, up.data);
		largestMagnitude(where, down.data);
		kernel().addProduct(data, up.data, down.data, up.rows, r, down.cols, 1);
		return denseSvd({ rows: up.rows, cols: down.cols, data }, where, allValues);
	}
	const gramUp = kernel().gram(up.data, up.rows, r);
	const gramDown = kernel().gramOfRows(down.data, r, down.cols);
	if (!moderate(gramUp, r) || !moderate(gramDown, r)) return decomposeScaled(up, down, where, allValues);
	return throughGrams(up, down, gramUp, gramDown, allValues) ?? throughQr(up, down);
}

function nothing(rows: number, cols: number): LazySvd {
	const s = new Float64Array(0);
	const none = { u: { rows, cols: 0, data: s }, s, v: { rows: cols, cols: 0, data: s } };
	return { values: s, squaredNorm: 0, leading: () => none };
}

/** The sum of squares, the trace, is neither NaN nor near the ends of what doubles hold. */
function moderate(gram: Float64Array, n: number): boolean {
	let trace = 0;
	for (let i = 0; i < n; i++) trace += gram[i * n + i] as number;
	return trace < LARGEST_SQUARE && trace > SMALLEST_SQUARE;
}

function decomposeScaled(up: Matrix, down: Matrix, where: string, allValues: boolean): LazySvd {
	const [largestUp, largestDown] = [largestMagnitude(where, up.data), largestMagnitude(where, down.data)];
	if (largestUp === 0 || largestDown === 0) return zeros(up, down);
	const [a, b] = [powerScale(largestUp), powerScale(largestDown)];
	const svd = decompose({ ...up, data: scaled(up.data, a) }, { ...down, data: scaled(down.data, b) }, where, allValues);
	return {
		values: svd.values.map((s) => s / a / b),
		squaredNorm: svd.squaredNorm / a / b / a / b,
		leading(count) {
			const some = svd.leading(count);
			return { ...some, s: some.s.map((s) => s / a / b) };
		},
	};
}

function zeros(up: Matrix, down: Matrix): LazySvd {
	const values = new Float64Array(Math.min(up.rows, up.cols, down.cols));
	const unit = (rows: number, cols: number): Matrix => {
		const data = new Float64Array(rows * cols);
		for (let i = 0; i < cols; i++) data[i * cols + i] = 1;
		return { rows, cols, data };
	};
	return {
		values,
		squaredNorm: 0,
		leading(count) {
			const n = clampCount(count, values.length);
			return { u: unit(up.rows, n), s: values.slice(0, n), v: unit(down.cols, n) };
		},
	};
}

/**
 * up = q r gives the same values as r down, whose squares are the eigenvalues of r (down down^T) r^T: nothing longer
 * than the rank is decomposed. Squaring costs half the digits of small values: undefined where those asked for
 * would not be right, or where `up` has dependent columns.
 */
function throughGrams(up: Matrix, down: Matrix, gramUp: Float64Array, gramDown: Float64Array, allValues: boolean): LazySvd | undefined {
	const n = up.cols;
	const { dense } = kernel();
	const { r, quality } = dense.cholesky(gramUp, n);
	if (quality < GATHERED_ROUNDING * n) return undefined;
	const eigen = symmetricEigen(dense.sandwich(r, gramDown, n), n);
	const values = rootsOf(eigen.values, n);
	const largest = values[0] ?? 0;
	// How much larger the factors are than their product: their rounding errors weigh that much more.
	const excess = Math.max(1, (boundOf(gramUp, n) * boundOf(gramDown, n)) / (largest * largest));
	const rounding = GATHERED_ROUNDING * excess;
	if (!(largest > 0) || (allValues && !rootable((values[n - 1] ?? 0) / largest, rounding))) return undefined;
	return {
		values,
		squaredNorm: dot(gramUp, gramDown),
		leading(count) {
			const some = clampCount(count, n);
			const s = values.subarray(0, some);
			const last = s[some - 1] ?? largest;
			if (!refinable(last / largest, rounding)) return throughQr(up, down).leading(some);
			return leadingOf(up, down, r, gramDown, eigen, s, rounding * largest * largest > VECTOR_TOLERANCE * last * last);
		},
	};
}

function leadingOf(
	up: Matrix,
	down: Matrix,
	r: Float64Array,
	gramDown: Float64Array,
	eigen: SymmetricEigen,
	s: Float64Array,
	rough: boolean,
): Svd {
	const { multiply } = kernel();
	const n = up.cols;
	const count = s.length;
	// v^T = x^T r down / s
	const mixed = multiply(eigen.leading(count), r, count, n, n);
	divideRows(mixed, s, n);
	const right: Matrix = { rows: count, cols: down.cols, data: multiply(mixed, down.data, count, n, down.cols) };
	if (rough) {
		return refine(right, (x) => ({
			rows: up.rows,
			cols: x.cols,
			data: multiply(up.data, multiply(down.data, x.data, n, down.cols, x.cols), up.rows, n, x.cols),
		}));
	}
	// u = up down v / s
	const inner = multiply(mixed, gramDown, count, n, n);
	divideRows(inner, s, n);
	const left = multiply(up.data, transposed({ rows: count, cols: n, data: inner }).data, up.rows, n, count);
	return { u: { rows: up.rows, cols: count, data: left }, s: s.slice(), v: transposed(right) };
}

/** A bound of the largest eigenvalue of a symmetric matrix: its largest row sum of magnitudes. */
function boundOf(g: Float64Array, n: number): number {
	let largest = 0;
	for (let i = 0; i < n; i++) {
		let sum = 0;
		for (let j = i * n; j < (i + 1) * n; j++) sum += Math.abs(g[j] as number);
		if (sum > largest) largest = sum;
	}
	return largest;
}

function dot(x: Float64Array, y: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < x.length; i++) sum += (x[i] as number) * (y[i] as number);
	return sum;
}

/** QR of both factors and Jacobi on the core r_up r_down^T: slower, right for every rank and any spread. */
function throughQr(up: Matrix, down: Matrix): LazySvd {
	const n = up.cols;
	const left = qrOfTransposed(transposed(up));
	const right = qrOfTransposed(down);
	const core = kernel().multiply(left.r.data, transposed(right.r).data, n, n, n);
	const svd = smallSvd({ rows: n, cols: n, data: core });
	return {
		values: svd.s,
		squaredNorm: sumOfSquares(svd.s),
		leading(count) {
			const some = clampCount(count, n);
			const { u, s, v } = firstTriplets(svd, some);
			return {
				u: transposed(multiplyQ(left.q, transposed(u).data, some)),
				s: s.slice(),
				v: transposed(multiplyQ(right.q, transposed(v).data, some)),
			};
		},
	};
}
