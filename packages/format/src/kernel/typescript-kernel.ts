import { decodeFloats, encodeFloats, f16ToF32, f64ToBf16, f64ToF16, type WritableFloat } from '../half.js';
import type { Kernel, RoundingTally } from './kernel.js';
import { typescriptDense } from './typescript-dense.js';
import { addProduct, gram, gramOfRows, multiply } from './typescript-products.js';

/** The reference: plain TypeScript, always there, and what `wasm-simd` must equal bit for bit. */
export const typescriptKernel: Kernel = {
	id: 'typescript',
	dense: typescriptDense,
	addProduct,
	multiply,
	gram,
	gramOfRows,
	addRounded,
	decode,
};

const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;
/** Doubles rounded at a time: small enough for the fastest cache. */
const BLOCK = 2048;
const sums = new Float64Array(BLOCK);
const sumWords = new Uint32Array(sums.buffer);
let halves: Float32Array | undefined;

/** Value of every binary16 pattern; 256 KiB, made when first asked for. */
function halfTable(): Float32Array {
	if (halves === undefined) {
		halves = new Float32Array(65_536);
		for (let i = 0; i < 65_536; i++) halves[i] = f16ToF32(i);
	}
	return halves;
}

function addRounded(dtype: WritableFloat, bytes: Uint8Array, delta: Float64Array): RoundingTally {
	const size = dtype === 'F64' ? 8 : dtype === 'F32' ? 4 : 2;
	if (bytes.byteLength !== delta.length * size) {
		throw new RangeError(`${bytes.byteLength} bytes of ${dtype} do not fit ${delta.length} deltas`);
	}
	// Views need alignment; files do not promise it.
	if (!LITTLE_ENDIAN || bytes.byteOffset % size !== 0) return addRoundedCopy(dtype, bytes, delta);
	const { buffer, byteOffset } = bytes;
	if (dtype === 'F64') return addWide(new Float64Array(buffer, byteOffset, delta.length), delta);
	if (dtype === 'F32') return addWide(new Float32Array(buffer, byteOffset, delta.length), delta);
	const words = new Uint16Array(buffer, byteOffset, delta.length);
	return dtype === 'F16' ? addHalf(words, delta) : addBrain(words, delta);
}

function addWide(values: Float64Array | Float32Array, delta: Float64Array): RoundingTally {
	let overflowed = 0;
	let nonFinite = 0;
	for (let i = 0; i < delta.length; i++) {
		const base = values[i] as number;
		const d = delta[i] as number;
		const sum = base + d;
		// The one NaN that is written: processors differ in the sign of theirs.
		values[i] = Number.isNaN(sum) ? Number.NaN : sum;
		if ((values[i] as number) - (values[i] as number) !== 0) {
			if (isFiniteSum(base, d)) overflowed++;
			else nonFinite++;
		}
	}
	return { overflowed, nonFinite };
}

function isFiniteSum(base: number, delta: number): boolean {
	return Number.isFinite(base) && Number.isFinite(delta);
}

/**
 * A double's upper word keeps 20 bits of its mantissa; with "anything lost" or-ed into the lowest one it is the
 * double rounded to odd, from which one more rounding, to 10 (or 7) bits, is right. Carries move the exponent, up to Inf.
 */
function addHalf(words: Uint16Array, delta: Float64Array): RoundingTally {
	const table = halfTable();
	let overflowed = 0;
	let nonFinite = 0;
	for (let start = 0; start < delta.length; start += BLOCK) {
		const n = Math.min(BLOCK, delta.length - start);
		for (let i = 0; i < n; i++) sums[i] = (table[words[start + i] as number] as number) + (delta[start + i] as number);
		for (let i = 0; i < n; i++) {
			const high = sumWords[2 * i + 1] as number;
			const magnitude = (high & 0x7fffffff) | ((sumWords[2 * i] as number) !== 0 ? 1 : 0);
			let code: number;
			// Normal results: 2^-14 up to just below 2^16.
			if (magnitude >= 0x3f100000 && magnitude < 0x40f00000) {
				code = ((high >>> 16) & 0x8000) | ((magnitude - 0x3f000000 + 0x1ff + ((magnitude >>> 10) & 1)) >>> 10);
			} else {
				const sum = sums[i] as number;
				code = Number.isNaN(sum) ? 0x7e00 : f64ToF16(sum);
			}
			if ((code & 0x7c00) === 0x7c00) {
				if (isFiniteSum(table[words[start + i] as number] as number, delta[start + i] as number)) overflowed++;
				else nonFinite++;
			}
			words[start + i] = code;
		}
	}
	return { overflowed, nonFinite };
}

const brainBits = new Uint32Array(BLOCK);
const brainValues = new Float32Array(brainBits.buffer);

/** As `addHalf`; bfloat16 is the upper half of a float32. */
function addBrain(words: Uint16Array, delta: Float64Array): RoundingTally {
	let overflowed = 0;
	let nonFinite = 0;
	for (let start = 0; start < delta.length; start += BLOCK) {
		const n = Math.min(BLOCK, delta.length - start);
		for (let i = 0; i < n; i++) brainBits[i] = (words[start + i] as number) << 16;
		for (let i = 0; i < n; i++) sums[i] = (brainValues[i] as number) + (delta[start + i] as number);
		for (let i = 0; i < n; i++) {
			const high = sumWords[2 * i + 1] as number;
			const magnitude = (high & 0x7fffffff) | ((sumWords[2 * i] as number) !== 0 ? 1 : 0);
			let code: number;
			// Normal results: 2^-126 up to just below 2^128.
			if (magnitude >= 0x38100000 && magnitude < 0x47f00000) {
				code = ((high >>> 16) & 0x8000) | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
			} else {
				const sum = sums[i] as number;
				code = Number.isNaN(sum) ? 0x7fc0 : f64ToBf16(sum);
			}
			if ((code & 0x7f80) === 0x7f80) {
				if (isFiniteSum(brainValues[i] as number, delta[start + i] as number)) overflowed++;
				else nonFinite++;
			}
			words[start + i] = code;
		}
	}
	return { overflowed, nonFinite };
}

/** The same for any alignment and byte order, slower. */
function addRoundedCopy(dtype: WritableFloat, bytes: Uint8Array, delta: Float64Array): RoundingTally {
	if (LITTLE_ENDIAN) {
		const copy = bytes.slice();
		const tally = addRounded(dtype, copy, delta);
		bytes.set(copy);
		return tally;
	}
	const base = decodeFloats(dtype, bytes);
	const result = Float64Array.from(base, (x, i) => (Number.isNaN(x + (delta[i] ?? 0)) ? Number.NaN : x + (delta[i] ?? 0)));
	bytes.set(encodeFloats(dtype, result));
	const stored = decodeFloats(dtype, bytes);
	let overflowed = 0;
	let nonFinite = 0;
	for (let i = 0; i < delta.length; i++) {
		if (!isFiniteSum(base[i] ?? 0, delta[i] ?? 0)) nonFinite++;
		else if (!Number.isFinite(stored[i] ?? 0)) overflowed++;
	}
	return { overflowed, nonFinite };
}

function decode(dtype: WritableFloat, bytes: Uint8Array): Float64Array {
	if (dtype !== 'F16' || !LITTLE_ENDIAN || bytes.byteLength % 2 !== 0) return decodeFloats(dtype, bytes);
	const count = bytes.byteLength / 2;
	const words =
		bytes.byteOffset % 2 === 0 ? new Uint16Array(bytes.buffer, bytes.byteOffset, count) : new Uint16Array(new Uint8Array(bytes).buffer);
	const table = halfTable();
	const out = new Float64Array(count);
	for (let i = 0; i < count; i++) out[i] = table[words[i] as number] as number;
	return out;
}
