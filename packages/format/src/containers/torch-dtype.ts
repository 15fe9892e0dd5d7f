import type { DType } from '../dtype.js';

/** An element type of torch. */
export interface TorchDType {
	/** As in `torch.NAME`. */
	readonly name: string;
	/** Bytes of one torch element. */
	readonly bytes: number;
	/** Name in a safetensors header; undefined where that format has none. */
	readonly dtype: DType | undefined;
	/** Logical elements in one torch element: 2 for `float4_e2m1fn_x2`, whose last dimension safetensors doubles. */
	readonly packed: 1 | 2;
	/** Class of its typed storage; undefined for types that only `_rebuild_tensor_v3` and an untyped storage write. */
	readonly storage: string | undefined;
}

function of(name: string, bytes: number, dtype: DType | undefined, storage?: string, packed: 1 | 2 = 1): TorchDType {
	return { name, bytes, dtype, packed, storage };
}

/**
 * Element types as torch 2.13 writes them (measured with torch.save; names as in `torch/serialization.py`).
 * Types without a storage class travel by `_rebuild_tensor_v3`.
 */
export const TORCH_DTYPES: readonly TorchDType[] = [
	of('float32', 4, 'F32', 'FloatStorage'),
	of('float16', 2, 'F16', 'HalfStorage'),
	of('bfloat16', 2, 'BF16', 'BFloat16Storage'),
	of('float64', 8, 'F64', 'DoubleStorage'),
	of('int64', 8, 'I64', 'LongStorage'),
	of('int32', 4, 'I32', 'IntStorage'),
	of('int16', 2, 'I16', 'ShortStorage'),
	of('int8', 1, 'I8', 'CharStorage'),
	of('uint8', 1, 'U8', 'ByteStorage'),
	of('bool', 1, 'BOOL', 'BoolStorage'),
	of('complex64', 8, 'C64', 'ComplexFloatStorage'),
	of('complex128', 16, undefined, 'ComplexDoubleStorage'),
	of('complex32', 4, undefined),
	of('uint16', 2, 'U16'),
	of('uint32', 4, 'U32'),
	of('uint64', 8, 'U64'),
	of('float8_e4m3fn', 1, 'F8_E4M3'),
	of('float8_e5m2', 1, 'F8_E5M2'),
	of('float8_e4m3fnuz', 1, 'F8_E4M3FNUZ'),
	of('float8_e5m2fnuz', 1, 'F8_E5M2FNUZ'),
	of('float8_e8m0fnu', 1, 'F8_E8M0'),
	of('float4_e2m1fn_x2', 1, 'F4', undefined, 2),
	of('bits8', 1, undefined),
	of('bits16', 2, undefined),
	of('bits1x8', 1, undefined),
	of('bits2x4', 1, undefined),
	of('bits4x2', 1, undefined),
];

/** Other names that torch has for the same types. */
export const TORCH_DTYPE_ALIASES: ReadonlyMap<string, string> = new Map([
	['float', 'float32'],
	['half', 'float16'],
	['double', 'float64'],
	['long', 'int64'],
	['int', 'int32'],
	['short', 'int16'],
	['cfloat', 'complex64'],
	['cdouble', 'complex128'],
	['chalf', 'complex32'],
]);

const BY_DTYPE: ReadonlyMap<string, TorchDType> = new Map(TORCH_DTYPES.flatMap((t) => (t.dtype === undefined ? [] : [[t.dtype, t]])));

/** The torch type for a safetensors type; undefined for the 6-bit floats, which torch lacks. */
export function torchDType(dtype: DType): TorchDType | undefined {
	return BY_DTYPE.get(dtype);
}
