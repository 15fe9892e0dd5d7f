import type { DType } from './dtype.js';

/** What the numbers of a tensor are like. */
export interface ValueCounts {
	nan: number;
	inf: number;
	/** Numbers that are not zero (NaN and Inf count). */
	nonzero: number;
}

/**
 * Count NaN, infinities and non-zeros in a chunk of a tensor's bytes, by bit patterns, without converting a number.
 * Returns false for a dtype that has no such values (integers, MX scales): `nonzero` is then not counted.
 * `bytes` must hold whole elements.
 */
export function scanValues(dtype: DType, bytes: Uint8Array, counts: ValueCounts): boolean {
	switch (dtype) {
		case 'F32':
			scan32(words32(bytes), counts);
			return true;
		case 'F16':
			scan16(words16(bytes), counts, 0x7c00);
			return true;
		case 'BF16':
			scan16(words16(bytes), counts, 0x7f80);
			return true;
		case 'F64':
			scan64(words32(bytes), counts);
			return true;
		case 'F8_E5M2':
		case 'F8_E4M3':
		case 'F8_E4M3FNUZ':
		case 'F8_E5M2FNUZ':
			scan8(bytes, counts, dtype);
			return true;
		default:
			return false;
	}
}

function scan32(words: Uint32Array, counts: ValueCounts): void {
	let nonzero = 0;
	for (let i = 0; i < words.length; i++) {
		const magnitude = (words[i] ?? 0) & 0x7fffffff;
		if (magnitude !== 0) nonzero++;
		if (magnitude >= 0x7f800000) {
			if (magnitude === 0x7f800000) counts.inf++;
			else counts.nan++;
		}
	}
	counts.nonzero += nonzero;
}

function scan16(words: Uint16Array, counts: ValueCounts, infinity: number): void {
	let nonzero = 0;
	for (let i = 0; i < words.length; i++) {
		const magnitude = (words[i] ?? 0) & 0x7fff;
		if (magnitude !== 0) nonzero++;
		if (magnitude >= infinity) {
			if (magnitude === infinity) counts.inf++;
			else counts.nan++;
		}
	}
	counts.nonzero += nonzero;
}

function scan64(words: Uint32Array, counts: ValueCounts): void {
	for (let i = 0; i + 1 < words.length; i += 2) {
		const low = words[i] ?? 0;
		const high = (words[i + 1] ?? 0) & 0x7fffffff;
		if (high !== 0 || low !== 0) counts.nonzero++;
		if (high >= 0x7ff00000) {
			if (high === 0x7ff00000 && low === 0) counts.inf++;
			else counts.nan++;
		}
	}
}

function scan8(bytes: Uint8Array, counts: ValueCounts, dtype: DType): void {
	const finiteOnly = dtype === 'F8_E4M3FNUZ' || dtype === 'F8_E5M2FNUZ';
	for (let i = 0; i < bytes.length; i++) {
		const byte = bytes[i] ?? 0;
		const magnitude = byte & 0x7f;
		if (finiteOnly ? byte !== 0 : magnitude !== 0) counts.nonzero++;
		if (finiteOnly) {
			// FNUZ: no infinities, and NaN is what would be negative zero.
			if (byte === 0x80) counts.nan++;
		} else if (dtype === 'F8_E4M3') {
			if (magnitude === 0x7f) counts.nan++;
		} else if (magnitude > 0x7c) counts.nan++;
		else if (magnitude === 0x7c) counts.inf++;
	}
}

/** Little-endian words; copied when the bytes do not lie on a word boundary. Big-endian machines do not run this package. */
function words32(bytes: Uint8Array): Uint32Array {
	const at = bytes.byteOffset % 4 === 0 ? bytes : bytes.slice();
	return new Uint32Array(at.buffer, at.byteOffset, at.byteLength >>> 2);
}

function words16(bytes: Uint8Array): Uint16Array {
	const at = bytes.byteOffset % 2 === 0 ? bytes : bytes.slice();
	return new Uint16Array(at.buffer, at.byteOffset, at.byteLength >>> 1);
}
