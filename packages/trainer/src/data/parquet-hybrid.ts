import { brokenParquet } from './parquet-error.js';

/**
 * Numbers in Parquet's mixture of runs and packed bits, each run checked against what is still wanted, so that five bytes
 * cannot stand for 2^31 numbers.
 * Source: apache/parquet-format Encodings.md, "Run Length Encoding / Bit-Packing Hybrid".
 *
 * @param bytes the runs, nothing before them
 * @param width bits of a number, 0 to 32
 * @returns `count` numbers
 * @throws {FormatError} `E_PARQUET`
 */
export function readHybrid(file: string, bytes: Uint8Array, width: number, count: number): Uint32Array {
	const out = new Uint32Array(count);
	let at = 0;
	let filled = 0;

	function byte(): number {
		const value = bytes[at++];
		if (value === undefined) throw brokenParquet(file, `the levels or indices of a page end after ${filled} of ${count} values`);
		return value;
	}

	function header(): number {
		let value = 0;
		for (let i = 0; i < 5; i++) {
			const part = byte();
			value += (part & 0x7f) * 2 ** (7 * i);
			if (part < 0x80) return value;
		}
		throw brokenParquet(file, 'a run of levels or indices is too long');
	}

	while (filled < count) {
		const head = header();
		const left = count - filled;
		if (head % 2 === 0) {
			const run = head / 2;
			// A run of no values would let a page be empty for ever.
			if (run === 0 || run > left) throw brokenParquet(file, `a run has ${run} values where ${left} are left`);
			let value = 0;
			for (let i = 0; i < Math.ceil(width / 8); i++) value += byte() * 2 ** (8 * i);
			out.fill(value, filled, filled + run);
			filled += run;
		} else {
			const packed = ((head - 1) / 2) * 8;
			// The last eight may be padding.
			if (packed === 0 || packed > left + 7) throw brokenParquet(file, `a run has ${packed} values where ${left} are left`);
			const end = at + (packed / 8) * width;
			if (end > bytes.byteLength && at + Math.ceil((left * width) / 8) > bytes.byteLength) {
				throw brokenParquet(file, `the levels or indices of a page end after ${filled} of ${count} values`);
			}
			for (let i = 0; i < Math.min(packed, left); i++) out[filled + i] = unpack(bytes, at, i * width, width);
			filled += Math.min(packed, left);
			at = end;
		}
	}
	return out;
}

/** `width` bits from bit `from` after byte `at`, lowest first. */
function unpack(bytes: Uint8Array, at: number, from: number, width: number): number {
	let value = 0;
	for (let got = 0; got < width; ) {
		const bit = from + got;
		const take = Math.min(8 - (bit & 7), width - got);
		const part = ((bytes[at + (bit >> 3)] ?? 0) >> (bit & 7)) & (2 ** take - 1);
		value += part * 2 ** got;
		got += take;
	}
	return value;
}

/** Bits that a number up to `largest` needs. */
export function bitsOf(largest: number): number {
	return 32 - Math.clz32(largest);
}
