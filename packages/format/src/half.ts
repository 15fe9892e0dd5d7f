import { byteLength, type DType, dtypeBits } from './dtype.js';
import { FormatError } from './errors.js';
import { type Float8, f8ToF32 } from './float8.js';

/** Types that arithmetic results are written in. */
export type WritableFloat = 'F64' | 'F32' | 'F16' | 'BF16';

const scratchF32 = new Float32Array(1);
const scratchU32 = new Uint32Array(scratchF32.buffer);
const LITTLE_ENDIAN = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1;

/** Bit pattern of the float32 nearest to `value`. */
function f32Bits(value: number): number {
	scratchF32[0] = value;
	return scratchU32[0] ?? 0;
}

function f32FromBits(bits: number): number {
	scratchU32[0] = bits;
	return scratchF32[0] ?? 0;
}

/** Value of a binary16 bit pattern; exact. */
export function f16ToF32(bits: number): number {
	return f32FromBits(f16ToF32Bits(bits));
}

/** binary16 pattern to float32 pattern: exact, NaN payloads shifted into place. */
export function f16ToF32Bits(bits: number): number {
	const sign = (bits & 0x8000) << 16;
	const exponent = (bits >>> 10) & 0x1f;
	let mantissa = bits & 0x3ff;
	if (exponent === 0x1f) return (sign | 0x7f800000 | (mantissa << 13)) >>> 0;
	if (exponent !== 0) return (sign | ((exponent + 112) << 23) | (mantissa << 13)) >>> 0;
	if (mantissa === 0) return sign >>> 0;
	// Subnormal: move the leading one up to the hidden place.
	const shift = Math.clz32(mantissa) - 21;
	mantissa = (mantissa << shift) & 0x3ff;
	return (sign | ((113 - shift) << 23) | (mantissa << 13)) >>> 0;
}

/** Value of a bfloat16 bit pattern; exact. */
export function bf16ToF32(bits: number): number {
	return f32FromBits((bits << 16) >>> 0);
}

/** float32 pattern to binary16 pattern, to nearest, ties to even; too large becomes Inf, NaN stays NaN (quiet). */
export function f32BitsToF16(bits: number): number {
	const sign = (bits >>> 16) & 0x8000;
	const magnitude = bits & 0x7fffffff;
	if (magnitude > 0x7f800000) return sign | 0x7e00 | ((magnitude >>> 13) & 0x1ff);
	// 65520 and above are nearer to 65536 than to 65504.
	if (magnitude >= 0x477ff000) return sign | 0x7c00;
	if (magnitude >= 0x38800000) {
		// Rebias, then add just under half and the lowest kept bit: ties go to even, carries move the exponent.
		return sign | ((magnitude - 0x38000000 + 0xfff + ((magnitude >>> 13) & 1)) >>> 13);
	}
	// Below 2^-25 everything is 0; exactly 2^-25 is a tie that goes to 0.
	if (magnitude <= 0x33000000) return sign;
	const mantissa = (magnitude & 0x7fffff) | 0x800000;
	const shift = 126 - (magnitude >>> 23);
	const kept = mantissa >>> shift;
	const rest = mantissa & ((1 << shift) - 1);
	const half = 1 << (shift - 1);
	return sign | (kept + (rest > half || (rest === half && (kept & 1) === 1) ? 1 : 0));
}

/** float32 pattern to bfloat16 pattern, to nearest, ties to even; NaN stays NaN (quiet). */
export function f32BitsToBf16(bits: number): number {
	if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
	return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

/** binary16 pattern nearest to a double, rounded once, ties to even. */
export function f64ToF16(value: number): number {
	return f32BitsToF16(oddF32Bits(value));
}

/** bfloat16 pattern nearest to a double, rounded once, ties to even. */
export function f64ToBf16(value: number): number {
	return f32BitsToBf16(oddF32Bits(value));
}

/** binary16 pattern nearest to a float32. */
export function f32ToF16(value: number): number {
	return f32BitsToF16(f32Bits(value));
}

/** bfloat16 pattern nearest to a float32. */
export function f32ToBf16(value: number): number {
	return f32BitsToBf16(f32Bits(value));
}

/**
 * A double as float32 bits, rounded "to odd": cut off, and the last bit set when anything was lost. A second
 * rounding to fewer bits then gives what one rounding of the double would have given, where rounding twice to
 * nearest would turn values just beside a tie into the tie.
 */
function oddF32Bits(value: number): number {
	const bits = f32Bits(value);
	const nearest = scratchF32[0] ?? 0;
	if (nearest === value || Number.isNaN(value)) return bits;
	// One step back when rounding went away from zero (also from Inf to the largest finite one).
	const cut = Math.abs(nearest) > Math.abs(value) ? bits - 1 : bits;
	return (cut | 1) >>> 0;
}

/** How one element of a type is read as a number. */
export interface ElementReader {
	/** Bytes of one element. */
	readonly size: number;
	/** True for integer types; 64-bit ones may be rounded: check `Number.isSafeInteger`. */
	readonly integer: boolean;
	read(view: DataView, offset: number): number;
}

const float8 = (dtype: Float8): [DType, ElementReader] => [
	dtype,
	{ size: 1, integer: false, read: (v, o) => f8ToF32(dtype, v.getUint8(o)) },
];

const READERS: ReadonlyMap<DType, ElementReader> = new Map<DType, ElementReader>([
	['BOOL', { size: 1, integer: true, read: (v, o) => v.getUint8(o) }],
	['U8', { size: 1, integer: true, read: (v, o) => v.getUint8(o) }],
	['I8', { size: 1, integer: true, read: (v, o) => v.getInt8(o) }],
	float8('F8_E5M2'),
	float8('F8_E4M3'),
	float8('F8_E8M0'),
	float8('F8_E4M3FNUZ'),
	float8('F8_E5M2FNUZ'),
	['I16', { size: 2, integer: true, read: (v, o) => v.getInt16(o, true) }],
	['U16', { size: 2, integer: true, read: (v, o) => v.getUint16(o, true) }],
	['F16', { size: 2, integer: false, read: (v, o) => f16ToF32(v.getUint16(o, true)) }],
	['BF16', { size: 2, integer: false, read: (v, o) => bf16ToF32(v.getUint16(o, true)) }],
	['I32', { size: 4, integer: true, read: (v, o) => v.getInt32(o, true) }],
	['U32', { size: 4, integer: true, read: (v, o) => v.getUint32(o, true) }],
	['F32', { size: 4, integer: false, read: (v, o) => v.getFloat32(o, true) }],
	['F64', { size: 8, integer: false, read: (v, o) => v.getFloat64(o, true) }],
	['I64', { size: 8, integer: true, read: (v, o) => Number(v.getBigInt64(o, true)) }],
	['U64', { size: 8, integer: true, read: (v, o) => Number(v.getBigUint64(o, true)) }],
]);

/** The reader of a type, or undefined for complex and 4- and 6-bit types, which no number stands for here. */
export function elementReader(dtype: DType): ElementReader | undefined {
	return READERS.get(dtype);
}

/**
 * Little-endian elements, at any alignment, as doubles: exact for every float type and for integers up to 2^53.
 * NaN payloads are not kept: copy bytes where nothing is computed.
 *
 * @throws {FormatError} `E_UNSUPPORTED_DTYPE` for C64, F4 and F6; `E_SHAPE` for a broken element at the end.
 */
export function decodeFloats(dtype: DType, bytes: Uint8Array): Float64Array {
	const reader = READERS.get(dtype);
	if (reader === undefined) {
		throw new FormatError('E_UNSUPPORTED_DTYPE', `Values of dtype ${dtype} can be carried byte for byte, but not computed with.`);
	}
	const { size } = reader;
	if (bytes.byteLength % size !== 0) {
		throw new FormatError('E_SHAPE', `${bytes.byteLength} bytes are no whole number of ${dtype} elements of ${size} bytes.`);
	}
	const count = bytes.byteLength / size;
	const out = new Float64Array(count);
	// The hot ones without a call through the table for each element. (`slice` of a Node Buffer is no copy.)
	if (LITTLE_ENDIAN && (dtype === 'F16' || dtype === 'BF16')) {
		const half =
			bytes.byteOffset % 2 === 0 ? new Uint16Array(bytes.buffer, bytes.byteOffset, count) : new Uint16Array(new Uint8Array(bytes).buffer);
		if (dtype === 'F16') for (let i = 0; i < count; i++) out[i] = f16ToF32(half[i] ?? 0);
		else for (let i = 0; i < count; i++) out[i] = bf16ToF32(half[i] ?? 0);
		return out;
	}
	if (LITTLE_ENDIAN && dtype === 'F32') {
		out.set(
			bytes.byteOffset % 4 === 0 ? new Float32Array(bytes.buffer, bytes.byteOffset, count) : new Float32Array(new Uint8Array(bytes).buffer),
		);
		return out;
	}
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	for (let i = 0; i < count; i++) out[i] = reader.read(view, i * size);
	return out;
}

/** Doubles as little-endian elements, each rounded once, to nearest, ties to even. Too large becomes Inf; NaN stays NaN. */
export function encodeFloats(dtype: WritableFloat, values: Float64Array): Uint8Array {
	const out = new Uint8Array(byteLength(dtype, [values.length]) ?? 0);
	const view = new DataView(out.buffer);
	const size = dtypeBits(dtype) / 8;
	for (let i = 0; i < values.length; i++) {
		const value = values[i] ?? 0;
		if (dtype === 'F16') view.setUint16(i * size, f64ToF16(value), true);
		else if (dtype === 'BF16') view.setUint16(i * size, f64ToBf16(value), true);
		else if (dtype === 'F32') view.setFloat32(i * size, value, true);
		else view.setFloat64(i * size, value, true);
	}
	return out;
}
