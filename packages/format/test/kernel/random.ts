import type { WritableFloat } from '../../src/half.js';

/** Words of a xorshift generator. */
export function seededWords(seed: number, count: number): Uint32Array {
	let x = (seed * 2_654_435_761 + 1) >>> 0 || 1;
	return Uint32Array.from({ length: count }, () => {
		x ^= x << 13;
		x ^= x >>> 17;
		x ^= x << 5;
		x >>>= 0;
		return x;
	});
}

/** Doubles between -1 and 1 with all their bits in use. */
export function randomDoubles(seed: number, count: number): Float64Array {
	const words = seededWords(seed, count * 2);
	return Float64Array.from({ length: count }, (_, i) => ((words[2 * i] ?? 0) * 2 ** -32 + (words[2 * i + 1] ?? 0) * 2 ** -53) * 2 - 1);
}

/** The memory of an array. */
export function bytesOf(data: Float64Array): Uint8Array {
	return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

/** Bytes of an element. */
export function widths(dtype: WritableFloat): number {
	return dtype === 'F64' ? 8 : dtype === 'F32' ? 4 : 2;
}
