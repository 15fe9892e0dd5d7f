import type { Matrix } from '../families/matrix.js';
import { kernel } from '../kernel/index.js';
import { denseSvd } from './dense-svd.js';
import { krylovLeft } from './krylov.js';
import { clampCount, firstTriplets, refine, scaleValues } from './lazy-svd.js';
import type { Svd } from './low-rank.js';
import { largestMagnitude, powerScale, scaled, transposed } from './matrix-tools.js';

/** Shorter sides up to this are decomposed whole: that takes milliseconds. */
const SMALL_SIDE = 400;
/** Shares of the shorter side above which a part is not cheaper than the whole. */
const LARGE_SHARE = 0.04;
/** Values below this share of the largest drown in the squares that the search works on. */
const SMALLEST_SHARE = 1e-6;

/**
 * The leading `rank` triplets (at most min(rows, cols)) of a dense matrix, values to 1e-10 (in practice 1e-13) of
 * the largest, u and v orthonormal to 1e-11. Large matrices by block Lanczos with full orthogonalisation from a
 * fixed start, its residuals checked; what is small or does not settle is decomposed whole.
 *
 * @param where what to call the matrix in an error: `component path`
 * @throws {FormatError} `E_NONFINITE` for NaN or Inf.
 */
export function topSvd(a: Matrix, rank: number, where = 'the matrix'): Svd {
	if (a.rows > a.cols) {
		const { u, s, v } = topSvd(transposed(a), rank, where);
		return { u: v, s, v: u };
	}
	const count = clampCount(rank, a.rows);
	const largest = largestMagnitude(where, a.data);
	if (a.rows <= SMALL_SIDE || count > a.rows * LARGE_SHARE) return whole(a, where, count);
	const scale = powerScale(largest);
	const m: Matrix = scale === 1 ? a : { ...a, data: scaled(a.data, scale) };
	const left = krylovLeft(m, count);
	if (left === undefined) return whole(a, where, count);
	// The best triplets within the space that was found, from the matrix itself instead of its square.
	const { u, s, v } = refine(left, (x) => {
		const rows = kernel().multiply(transposed(x).data, m.data, x.cols, m.rows, m.cols);
		return transposed({ rows: x.cols, cols: m.cols, data: rows });
	});
	if (!((s[count - 1] ?? 0) > SMALLEST_SHARE * (s[0] ?? 0))) return whole(a, where, count);
	return scaleValues({ u: v, s, v: u }, 1 / scale);
}

function whole(a: Matrix, where: string, count: number): Svd {
	return firstTriplets(denseSvd(a, where, false).leading(count), count);
}
