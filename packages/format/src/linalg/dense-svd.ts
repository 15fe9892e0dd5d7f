import type { Matrix } from '../families/matrix.js';
import { kernel } from '../kernel/index.js';
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
	scaleValues,
	sumOfSquares,
	VECTOR_TOLERANCE,
} from './lazy-svd.js';
import type { Svd } from './low-rank.js';
import { largestMagnitude, powerScale, scaled, transposed } from './matrix-tools.js';
import { smallSvd } from './small-svd.js';
import { symmetricEigen } from './symmetric-eigen.js';
import { multiplyQ, qrOfTransposed } from './thin-qr.js';

/** Shorter sides up to this are decomposed by Jacobi at once. */
const SMALL = 24;
/** Values of one part, relative to its largest: refined, they are right to 1e-13. */
const PART_SHARE = 1e-3;

/**
 * SVD of a dense matrix: from the Gram matrix of its shorter side where that keeps values right to 1e-11 of the
 * largest, else by `smallSvd`.
 *
 * @param allValues false when only `leading` will be used: `values` may then be rough
 * @throws {FormatError} `E_NONFINITE`, naming `where`.
 */
export function denseSvd(a: Matrix, where: string, allValues = true): LazySvd {
	if (a.rows > a.cols) {
		const flipped = denseSvd(transposed(a), where, allValues);
		return {
			values: flipped.values,
			squaredNorm: flipped.squaredNorm,
			leading(count) {
				const { u, s, v } = flipped.leading(count);
				return { u: v, s, v: u };
			},
		};
	}
	const scale = powerScale(largestMagnitude(where, a.data));
	const m: Matrix = scale === 1 ? a : { ...a, data: scaled(a.data, scale) };
	const eigen = symmetricEigen(kernel().gramOfRows(m.data, m.rows, m.cols), m.rows);
	const values = rootsOf(eigen.values, m.rows);
	const largest = values[0] ?? 0;
	const smallest = (values[values.length - 1] ?? 0) / largest;
	if (m.rows <= SMALL || (allValues && !rootable(smallest, GATHERED_ROUNDING))) return accurateSvd(m, where, scale);
	return {
		values: scaled(values, 1 / scale),
		squaredNorm: sumOfSquares(m.data) / scale / scale,
		leading(count) {
			const n = clampCount(count, values.length);
			const last = values[n - 1] ?? 0;
			if (n > 0 && !(largest > 0 && refinable(last / largest, GATHERED_ROUNDING))) return scaleValues(leadingByParts(m, n), 1 / scale);
			return scaleValues(leadingOf(m, values.subarray(0, n), eigen.leading(n), largest), 1 / scale);
		},
	};
}

/**
 * As many triplets as asked for of a matrix whose values fall beyond what its Gram matrix tells: those within a
 * thousandth of the largest, then the same of what is left without them, and so on.
 */
function leadingByParts(m: Matrix, count: number): Svd {
	const s = new Float64Array(count);
	const left: Matrix = { rows: count, cols: m.rows, data: new Float64Array(count * m.rows) };
	const right: Matrix = { rows: count, cols: m.cols, data: new Float64Array(count * m.cols) };
	let rest = m;
	let got = 0;
	let scale = 1;
	while (got < count) {
		const largest = largestMagnitude('what is left', rest.data);
		if (largest === 0) break;
		const factor = powerScale(largest);
		scale *= factor;
		if (!Number.isFinite(scale)) break;
		rest = { ...rest, data: scaled(rest.data, factor) };
		const eigen = symmetricEigen(kernel().gramOfRows(rest.data, rest.rows, rest.cols), rest.rows);
		const values = rootsOf(eigen.values, rest.rows);
		const top = values[0] ?? 0;
		let take = 0;
		while (take < count - got && (values[take] ?? 0) > top * PART_SHARE) take++;
		if (take === 0) break;
		const part = leadingOf(rest, values.subarray(0, take), eigen.leading(take), top);
		s.set(scaled(part.s, 1 / scale), got);
		left.data.set(transposed(part.u).data, got * m.rows);
		right.data.set(transposed(part.v).data, got * m.cols);
		got += take;
		// Twice: the first leaves rounding errors of the size of what was taken out.
		if (got < count) rest = without(without(rest, part), part);
	}
	completeRows(left, got);
	completeRows(right, got);
	return { u: transposed(left), s, v: transposed(right) };
}

/** (1 - u u^T) m (1 - v v^T) */
function without(m: Matrix, { u, v }: Svd): Matrix {
	const { multiply, addProduct } = kernel();
	const data = m.data.slice();
	const count = u.cols;
	addProduct(data, u.data, multiply(transposed(u).data, data, count, m.rows, m.cols), m.rows, count, m.cols, -1);
	addProduct(data, multiply(data, v.data, m.rows, m.cols, count), transposed(v).data, m.rows, count, m.cols, -1);
	return { ...m, data };
}

/** Orthonormal rows from `from` on, where those above are. */
function completeRows(x: Matrix, from: number): void {
	if (from === x.rows) return;
	const start = x.data.slice();
	for (let i = from * x.cols; i < start.length; i++) start[i] = Math.sin(i * i + 1);
	const { q } = qrOfTransposed({ ...x, data: start });
	const unit = new Float64Array(x.rows * x.rows);
	for (let i = 0; i < x.rows; i++) unit[i * x.rows + i] = 1;
	x.data.set(multiplyQ(q, unit, x.rows).data.subarray(from * x.cols), from * x.cols);
}

function leadingOf(m: Matrix, s: Float64Array, left: Float64Array, largest: number): Svd {
	const count = s.length;
	const right: Matrix = { rows: count, cols: m.cols, data: kernel().multiply(left, m.data, count, m.rows, m.cols) };
	const last = s[count - 1] ?? 0;
	divideRows(right.data, s, m.cols);
	if (count > 0 && GATHERED_ROUNDING * largest * largest > VECTOR_TOLERANCE * last * last) {
		return refine(right, (x) => ({ rows: m.rows, cols: x.cols, data: kernel().multiply(m.data, x.data, m.rows, m.cols, x.cols) }));
	}
	return { u: transposed({ rows: count, cols: m.rows, data: left }), s: s.slice(), v: transposed(right) };
}

function accurateSvd(m: Matrix, where: string, scale: number): LazySvd {
	const svd = scaleValues(smallSvd(m, where), 1 / scale);
	return { values: svd.s, squaredNorm: sumOfSquares(svd.s), leading: (count) => firstTriplets(svd, clampCount(count, svd.s.length)) };
}
