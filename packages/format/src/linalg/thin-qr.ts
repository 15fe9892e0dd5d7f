import type { Matrix } from '../families/matrix.js';
import { kernel, type Reflections } from '../kernel/index.js';
import { transposed } from './matrix-tools.js';

/** a = q r with orthonormal columns of q (m, k) and upper triangular (trapezoidal) r (k, n), k = min(m, n). */
export interface ThinQr {
	readonly q: Matrix;
	readonly r: Matrix;
}

/** As `ThinQr`, with q as reflections: cheaper where q is only multiplied with few columns. */
export interface ImplicitQr {
	readonly q: Reflections;
	readonly r: Matrix;
}

/** Householder QR of any shape and any rank; entries must be finite, and squares must not over- or underflow. */
export function thinQr(a: Matrix): ThinQr {
	const { q, r } = qrOfTransposed(transposed(a));
	const unit = new Float64Array(r.rows * r.rows);
	for (let i = 0; i < r.rows; i++) unit[i * r.rows + i] = 1;
	return { q: transposed(multiplyQ(q, unit, r.rows)), r };
}

/** QR of a^T, read row by row from a (n, m). */
export function qrOfTransposed(a: Matrix): ImplicitQr {
	const { q, r } = kernel().dense.qrOfRows(a.data, a.rows, a.cols);
	return { q, r: { rows: Math.min(a.rows, a.cols), cols: a.rows, data: r } };
}

/** q x for the columns of x, which come and go as rows: x (count, k), the result (count, m). */
export function multiplyQ(q: Reflections, x: Float64Array, count: number): Matrix {
	const k = q.factors.length;
	const z = new Float64Array(count * q.cols);
	for (let i = 0; i < count; i++) z.set(x.subarray(i * k, (i + 1) * k), i * q.cols);
	kernel().dense.reflectRows(q, z, count);
	return { rows: count, cols: q.cols, data: z };
}
