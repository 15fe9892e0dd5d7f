import { FormatError } from '../../errors.js';
import type { Matrix } from '../../families/matrix.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../half.js';
import { kernel } from '../../kernel/index.js';
import type { Svd } from '../../linalg/low-rank.js';
import { transposed } from '../../linalg/matrix-tools.js';
import { type DeltaProduct, flattenProduct } from '../product/delta-product.js';
import type { PartialSvd } from './resize-svd.js';

/** Factors as they will be stored, and what they are worth. */
export interface StoredFactors {
	/** (out, k) in the stored type, little-endian. */
	readonly up: Uint8Array;
	/** (k, in * kernel). */
	readonly down: Uint8Array;
	readonly rank: number;
	/** Frobenius norm of the delta without its scaling. */
	readonly norm: number;
	/** Share of the energy (squared Frobenius norm) in the kept singular values: 1 when nothing was cut. */
	readonly energyKept: number;
	/** |stored - delta| / |delta| in the Frobenius norm, stored as rounded; 0 for a delta of zeros. */
	readonly error: number;
	/** Nonzero elements that rounding made 0. */
	readonly underflow: number;
}

/**
 * Balanced factors up = U sqrt(S), down = sqrt(S) V^T, rounded once to `dtype`, and their true error.
 *
 * The error is not |input|^2 + |stored|^2 - 2 <input, stored>, which could not tell errors below 1e-8 from 0. With
 * E1, E2 the rounding of up and down (known exactly), P the exact up and Q the stored down, input - stored is
 * rest - (E1 Q + P E2), where rest is orthogonal to U and V: so each square is summed by itself, from k x k
 * products, and only <rest, E1 E2> couples them.
 *
 * @param gain multiplies up: where the stored scaling had to be rounded, true scaling / stored scaling
 * @throws {FormatError} `E_NONFINITE` when the delta is not finite, or the factors leave the range of `dtype`.
 */
export function storeFactors(where: string, delta: DeltaProduct, parts: PartialSvd, dtype: WritableFloat, gain = 1): StoredFactors {
	const { svd, total, rest } = parts;
	const rank = svd.s.length;
	if (!Number.isFinite(total)) {
		throw new FormatError(
			'E_NONFINITE',
			`${where} has factors that are NaN or infinite (or too large to square), so it has no singular values; find them with "lora validate".`,
			{
				at: where.slice(where.indexOf(' ') + 1),
			},
		);
	}
	const exactUp = balancedUp(svd, gain);
	const exactDown = balancedDown(svd);
	const up = encodeFloats(dtype, exactUp.data);
	const down = encodeFloats(dtype, exactDown.data);
	const roundedUp: Matrix = { ...exactUp, data: decodeFloats(dtype, up) };
	const roundedDown: Matrix = { ...exactDown, data: decodeFloats(dtype, down) };
	const underflow = lost(where, exactUp.data, roundedUp.data, dtype) + lost(where, exactDown.data, roundedDown.data, dtype);

	const errorUp: Matrix = { ...exactUp, data: difference(roundedUp.data, exactUp.data) };
	const errorDown: Matrix = { ...exactDown, data: difference(roundedDown.data, exactDown.data) };
	// |E1 Q|^2 + |P E2|^2 + 2 <E1 Q, P E2>, all from k x k products.
	let rounding = dot(gramColumns(errorUp, errorUp), gramRows(roundedDown, roundedDown));
	rounding += dot(gramColumns(exactUp, exactUp), gramRows(errorDown, errorDown));
	rounding += 2 * dot(gramColumns(errorUp, exactUp), gramRows(roundedDown, errorDown));
	const coupling = rest > 0 && rounding > 0 ? couplingOf(where, delta, svd, errorUp, errorDown) : 0;
	const squared = rest + rounding / gain ** 2 - (2 * coupling) / gain;
	return {
		up,
		down,
		rank,
		norm: Math.sqrt(total),
		energyKept: total > 0 ? 1 - rest / total : 1,
		error: total > 0 ? Math.sqrt(Math.max(0, squared) / total) : 0,
		underflow,
	};
}

/** <rest, E1 E2>, where rest = delta - U S V^T. */
function couplingOf(where: string, delta: DeltaProduct, { u, s, v }: Svd, errorUp: Matrix, errorDown: Matrix): number {
	const { up, down } = flattenProduct(where, delta);
	const whole = dot(gramColumns(up, errorUp), gramRows(down, errorDown));
	const left = gramColumns(u, errorUp);
	const right = kernel().multiply(errorDown.data, v.data, errorDown.rows, errorDown.cols, v.cols);
	let kept = 0;
	for (let i = 0; i < s.length; i++) {
		for (let k = 0; k < errorUp.cols; k++) kept += (s[i] ?? 0) * (left.data[i * left.cols + k] ?? 0) * (right[k * v.cols + i] ?? 0);
	}
	return whole - kept;
}

function balancedUp({ u, s }: Svd, gain: number): Matrix {
	const data = new Float64Array(u.rows * s.length);
	const roots = s.map(Math.sqrt);
	for (let i = 0; i < u.rows; i++) {
		for (let k = 0; k < s.length; k++) data[i * s.length + k] = (u.data[i * u.cols + k] ?? 0) * (roots[k] ?? 0) * gain;
	}
	return { rows: u.rows, cols: s.length, data };
}

function balancedDown({ s, v }: Svd): Matrix {
	const data = new Float64Array(s.length * v.rows);
	const roots = s.map(Math.sqrt);
	for (let j = 0; j < v.rows; j++) {
		for (let k = 0; k < s.length; k++) data[k * v.rows + j] = (v.data[j * v.cols + k] ?? 0) * (roots[k] ?? 0);
	}
	return { rows: s.length, cols: v.rows, data };
}

/** a^T b of (n, p) and (n, q): (p, q). */
function gramColumns(a: Matrix, b: Matrix): Matrix {
	return { rows: a.cols, cols: b.cols, data: kernel().multiply(transposed(a).data, b.data, a.cols, a.rows, b.cols) };
}

/** a b^T of (p, n) and (q, n): (p, q). */
function gramRows(a: Matrix, b: Matrix): Matrix {
	return { rows: a.rows, cols: b.rows, data: kernel().multiply(a.data, transposed(b).data, a.rows, a.cols, b.rows) };
}

/** Sum of the products of elements. */
function dot(a: Matrix, b: Matrix): number {
	let sum = 0;
	for (let i = 0; i < a.data.length; i++) sum += (a.data[i] ?? 0) * (b.data[i] ?? 0);
	return sum;
}

function difference(a: Float64Array, b: Float64Array): Float64Array {
	return a.map((x, i) => x - (b[i] ?? 0));
}

/** Nonzero values that became 0. @throws {FormatError} `E_NONFINITE` when one became infinite. */
function lost(where: string, exact: Float64Array, rounded: Float64Array, dtype: WritableFloat): number {
	let n = 0;
	for (let i = 0; i < exact.length; i++) {
		const y = rounded[i] ?? 0;
		if (y === 0 && exact[i] !== 0) n++;
		else if (!Number.isFinite(y)) {
			throw new FormatError('E_NONFINITE', `${where} has a factor of ${exact[i]}, which ${dtype} cannot hold; use --dtype f32.`, {
				at: where.slice(where.indexOf(' ') + 1),
			});
		}
	}
	return n;
}
