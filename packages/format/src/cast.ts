import { type DType, isFloat } from './dtype.js';
import { FormatError } from './errors.js';
import { decodeFloats, elementReader, encodeFloats, f16ToF32Bits, f32BitsToBf16, f32BitsToF16, type WritableFloat } from './half.js';
import { computedTensor, type Tensor } from './tensor.js';

/** What a cast did to the values. */
export interface CastResult {
	/** Little-endian elements of the target type. */
	readonly bytes: Uint8Array;
	/** Nonzero values that became 0. */
	readonly underflow: number;
	/** Finite values that became Inf. */
	readonly overflow: number;
	/** NaN and Inf that were there before. */
	readonly nonfinite: number;
}

/** Half a unit in the last place, relative, for values in the normal range: 2^-p with p bits of precision. */
const HALF_ULP: ReadonlyMap<WritableFloat, number> = new Map([
	['F64', 1 / 2 ** 53],
	['F32', 1 / 2 ** 24],
	['F16', 1 / 2 ** 11],
	['BF16', 1 / 2 ** 8],
]);

/** Sources whose every value each target holds exactly. */
const EXACT: ReadonlyMap<WritableFloat, ReadonlySet<DType>> = new Map<WritableFloat, ReadonlySet<DType>>([
	['F64', new Set<DType>(['F32', 'F16', 'BF16', 'F8_E4M3', 'F8_E5M2', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ', 'F8_E8M0'])],
	['F32', new Set<DType>(['F16', 'BF16', 'F8_E4M3', 'F8_E5M2', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ', 'F8_E8M0'])],
	['F16', new Set<DType>(['F8_E4M3', 'F8_E5M2', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ'])],
	['BF16', new Set<DType>(['F8_E4M3', 'F8_E5M2', 'F8_E4M3FNUZ', 'F8_E5M2FNUZ', 'F8_E8M0'])],
]);

/**
 * The same shape in another float type, computed when read. The tensor itself where nothing changes.
 * `errorBound` is 0 where every value of the source type fits the target, else half a unit in the target's last
 * place (values that leave its normal range lose more: `castWithCounts` counts them).
 *
 * @param observe told what the cast did to the values, each time the bytes are computed
 * @throws {FormatError} `E_UNSUPPORTED_DTYPE` when the source is no float type that can be computed with.
 */
export function castTensor(tensor: Tensor, dtype: WritableFloat, observe?: (result: CastResult) => void): Tensor {
	if (tensor.dtype === dtype) return tensor;
	checkFloat(tensor.dtype);
	return computedTensor(
		dtype,
		tensor.shape,
		{ from: [tensor], how: `cast ${tensor.dtype} to ${dtype}`, errorBound: castErrorBound(tensor.dtype, dtype) },
		async () => {
			const result = castWithCounts(await tensor.read(), tensor.dtype, dtype);
			observe?.(result);
			return result.bytes;
		},
	);
}

/** Largest relative error of casting one value that stays in the target's normal range; 0 when always exact. */
export function castErrorBound(from: DType, to: WritableFloat): number {
	return from === to || EXACT.get(to)?.has(from) === true ? 0 : (HALF_ULP.get(to) ?? 0);
}

/**
 * Cast little-endian elements, rounding each once, to nearest, ties to even, and count what was lost.
 * @throws {FormatError} `E_UNSUPPORTED_DTYPE`, `E_SHAPE` (bytes that are no whole elements).
 */
export function castWithCounts(bytes: Uint8Array, from: DType, to: WritableFloat): CastResult {
	checkFloat(from);
	if (from === 'F32' && (to === 'F16' || to === 'BF16')) return castF32(bytes, to);
	if (from === 'F16' && to === 'F32') return widenHalf(bytes);
	const values = decodeFloats(from, bytes);
	const cast = encodeFloats(to, values);
	const after = decodeFloats(to, cast);
	let underflow = 0;
	let overflow = 0;
	let nonfinite = 0;
	for (let i = 0; i < values.length; i++) {
		const value = values[i] ?? 0;
		const result = after[i] ?? 0;
		if (!Number.isFinite(value)) nonfinite++;
		else if (result === 0) underflow += value === 0 ? 0 : 1;
		else if (!Number.isFinite(result)) overflow++;
	}
	return { bytes: from === to ? bytes : cast, underflow, overflow, nonfinite };
}

/** The usual cast, on bit patterns alone. */
function castF32(bytes: Uint8Array, to: 'F16' | 'BF16'): CastResult {
	const count = wholeElements(bytes, 4);
	const input = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const out = new Uint8Array(count * 2);
	const output = new DataView(out.buffer);
	const infinity = to === 'F16' ? 0x7c00 : 0x7f80;
	let underflow = 0;
	let overflow = 0;
	let nonfinite = 0;
	for (let i = 0; i < count; i++) {
		const bits = input.getUint32(i * 4, true);
		const half = to === 'F16' ? f32BitsToF16(bits) : f32BitsToBf16(bits);
		output.setUint16(i * 2, half, true);
		const magnitude = half & 0x7fff;
		if ((bits & 0x7f800000) === 0x7f800000) nonfinite++;
		else if (magnitude === 0) underflow += (bits & 0x7fffffff) === 0 ? 0 : 1;
		else if (magnitude === infinity) overflow++;
	}
	return { bytes: out, underflow, overflow, nonfinite };
}

function widenHalf(bytes: Uint8Array): CastResult {
	const count = wholeElements(bytes, 2);
	const input = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const out = new Uint8Array(count * 4);
	const output = new DataView(out.buffer);
	let nonfinite = 0;
	for (let i = 0; i < count; i++) {
		const bits = input.getUint16(i * 2, true);
		if ((bits & 0x7c00) === 0x7c00) nonfinite++;
		output.setUint32(i * 4, f16ToF32Bits(bits), true);
	}
	return { bytes: out, underflow: 0, overflow: 0, nonfinite };
}

function wholeElements(bytes: Uint8Array, size: number): number {
	if (bytes.byteLength % size !== 0) {
		throw new FormatError('E_SHAPE', `${bytes.byteLength} bytes are no whole number of elements of ${size} bytes.`);
	}
	return bytes.byteLength / size;
}

function checkFloat(dtype: DType): void {
	if (isFloat(dtype) && elementReader(dtype) !== undefined) return;
	throw new FormatError(
		'E_UNSUPPORTED_DTYPE',
		`A tensor of dtype ${dtype} cannot be cast; keep its dtype (only float types of 8 bits or more are cast).`,
	);
}
