import { FormatError } from '../errors.js';
import type { Matrix } from '../families/matrix.js';

/** Rows and columns exchanged, by square tiles so that both sides stay near. */
export function transposed({ rows, cols, data }: Matrix): Matrix {
	const out = new Float64Array(rows * cols);
	const tile = 16;
	for (let i0 = 0; i0 < rows; i0 += tile) {
		const i1 = Math.min(rows, i0 + tile);
		for (let j0 = 0; j0 < cols; j0 += tile) {
			const j1 = Math.min(cols, j0 + tile);
			for (let i = i0; i < i1; i++) for (let j = j0; j < j1; j++) out[j * rows + i] = data[i * cols + j] as number;
		}
	}
	return { rows: cols, cols: rows, data: out };
}

/**
 * Largest magnitude; 0 for none. @throws {FormatError} `E_NONFINITE` for NaN or Inf, naming `where`.
 */
export function largestMagnitude(where: string, data: Float64Array): number {
	let largest = 0;
	// NaN would lose every comparison; x - x is 0 for finite x only.
	let check = 0;
	for (let i = 0; i < data.length; i++) {
		const x = data[i] as number;
		check += x - x;
		const magnitude = x < 0 ? -x : x;
		if (magnitude > largest) largest = magnitude;
	}
	if (check !== 0) {
		throw new FormatError(
			'E_NONFINITE',
			`${where} has NaN or infinite numbers, so it has no singular values; find them with "lora validate".`,
			{ at: where.slice(where.indexOf(' ') + 1) },
		);
	}
	return largest;
}

/** A power of two near 1 / x, so that multiplying with it is exact; 1 for 0. */
export function powerScale(x: number): number {
	if (!(x > 0)) return 1;
	return 2 ** -Math.max(-1000, Math.min(1000, Math.round(Math.log2(x))));
}

/** A copy, every element times `factor`. */
export function scaled(data: Float64Array, factor: number): Float64Array {
	const out = new Float64Array(data.length);
	for (let i = 0; i < data.length; i++) out[i] = (data[i] as number) * factor;
	return out;
}
