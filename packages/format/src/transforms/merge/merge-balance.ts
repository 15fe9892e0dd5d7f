import { decodeFloats, encodeFloats, type WritableFloat } from '../../half.js';
import { kernel } from '../../kernel/index.js';
import type { Svd } from '../../linalg/low-rank.js';
import { lost } from './merge-low-rank.js';

/** Balanced factors of an SVD in the stored type. */
export interface Balanced {
	readonly up: Uint8Array;
	readonly down: Uint8Array;
	readonly rank: number;
	readonly underflow: number;
	/** What the stored factors multiply to. */
	product(): Float64Array;
	/** What they multiply to before rounding. */
	exactProduct(): Float64Array;
}

/** up = U sqrt(S), down = sqrt(S) V^T, rounded once. @throws {FormatError} `E_NONFINITE`. */
export function balanced(where: string, { u, s, v }: Svd, dtype: WritableFloat): Balanced {
	const rank = s.length;
	const up = new Float64Array(u.rows * rank);
	const down = new Float64Array(rank * v.rows);
	for (let k = 0; k < rank; k++) {
		const root = Math.sqrt(s[k] ?? 0);
		for (let i = 0; i < u.rows; i++) up[i * rank + k] = (u.data[i * u.cols + k] ?? 0) * root;
		for (let j = 0; j < v.rows; j++) down[k * v.rows + j] = (v.data[j * v.cols + k] ?? 0) * root;
	}
	const [upBytes, downBytes] = [encodeFloats(dtype, up), encodeFloats(dtype, down)];
	const [storedUp, storedDown] = [decodeFloats(dtype, upBytes), decodeFloats(dtype, downBytes)];
	const of = (a: Float64Array, b: Float64Array): Float64Array => kernel().multiply(a, b, u.rows, rank, v.rows);
	return {
		up: upBytes,
		down: downBytes,
		rank,
		underflow: lost(where, dtype, up, storedUp) + lost(where, dtype, down, storedDown),
		product: () => of(storedUp, storedDown),
		exactProduct: () => of(up, down),
	};
}
