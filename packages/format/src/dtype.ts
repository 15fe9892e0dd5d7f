/**
 * The element types of the safetensors format, in its own order, which the writer sorts by (descending).
 * Source: huggingface/safetensors@24b0b28 safetensors/src/tensor.rs `enum Dtype`.
 */
export const DTYPES = [
	'BOOL',
	'F4',
	'F6_E2M3',
	'F6_E3M2',
	'U8',
	'I8',
	'F8_E5M2',
	'F8_E4M3',
	'F8_E8M0',
	'F8_E4M3FNUZ',
	'F8_E5M2FNUZ',
	'I16',
	'U16',
	'F16',
	'BF16',
	'I32',
	'U32',
	'F32',
	'C64',
	'F64',
	'I64',
	'U64',
] as const;

/** Name of an element type as a safetensors header spells it. */
export type DType = (typeof DTYPES)[number];

const BITS: ReadonlyMap<string, number> = new Map<DType, number>([
	['BOOL', 8],
	['F4', 4],
	['F6_E2M3', 6],
	['F6_E3M2', 6],
	['U8', 8],
	['I8', 8],
	['F8_E5M2', 8],
	['F8_E4M3', 8],
	['F8_E8M0', 8],
	['F8_E4M3FNUZ', 8],
	['F8_E5M2FNUZ', 8],
	['I16', 16],
	['U16', 16],
	['F16', 16],
	['BF16', 16],
	['I32', 32],
	['U32', 32],
	['F32', 32],
	['C64', 64],
	['F64', 64],
	['I64', 64],
	['U64', 64],
]);

const ORDER: ReadonlyMap<string, number> = new Map(DTYPES.map((d, i) => [d, i]));

/** True for a name that the safetensors format knows. Never a property look-up: `__proto__` is just a string. */
export function isDType(name: string): name is DType {
	return BITS.has(name);
}

/** Bits of one element. */
export function dtypeBits(dtype: DType): number {
	return BITS.get(dtype) ?? 0;
}

/** Place in the format's enum: the writer sorts by this, descending. */
export function dtypeOrder(dtype: DType): number {
	return ORDER.get(dtype) ?? -1;
}

/** Types whose elements are numbers that arithmetic (fold, cast, delta) can use. */
export function isFloat(dtype: DType): boolean {
	return dtype.startsWith('F') || dtype === 'BF16';
}

/**
 * Bytes of a tensor, or undefined when the product leaves the exact integers or is no whole number of bytes
 * (sub-byte types).
 */
export function byteLength(dtype: DType, shape: readonly number[]): number | undefined {
	const count = numel(shape);
	if (count === undefined) return undefined;
	const bits = dtypeBits(dtype);
	// Whole bytes first, so that the product cannot pass 2^53 needlessly.
	if (bits % 8 === 0) {
		const bytes = count * (bits / 8);
		return Number.isSafeInteger(bytes) ? bytes : undefined;
	}
	const total = count * bits;
	return Number.isSafeInteger(total) && total % 8 === 0 ? total / 8 : undefined;
}

/** Product of the dimensions; 1 for a scalar; undefined when it leaves the exact integers. */
export function numel(shape: readonly number[]): number | undefined {
	let product = 1;
	let zero = false;
	// By index: asked of every tensor, several times, where an iterator would cost more than the product.
	for (let i = 0; i < shape.length; i++) {
		const dim = shape[i] ?? -1;
		if (!Number.isSafeInteger(dim) || dim < 0) return undefined;
		if (dim === 0) zero = true;
		else product *= dim;
		if (!Number.isSafeInteger(product)) return undefined;
	}
	return zero ? 0 : product;
}
