import type { Adapter, Role, TargetModule } from '../adapter.js';
import type { DType } from '../dtype.js';
import { FormatError } from '../errors.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../half.js';
import { computedTensor, type Tensor } from '../tensor.js';

export interface FoldOptions {
	/** Write the folded factors in this dtype, rounded once from float64: for a cast that follows. Default: the stored dtype. */
	readonly dtype?: WritableFloat | undefined;
	/** Told, each time a factor is computed, how many values became 0 or Inf. */
	readonly observe?: ((counts: Pick<FoldCounts, 'underflow' | 'overflow'>) => void) | undefined;
}

/** What folding did to the values of one factor; known only once they were read. */
export interface FoldCounts {
	/** Elements whose product is not exactly representable. */
	readonly rounded: number;
	/** Nonzero elements that became 0. */
	readonly underflow: number;
	/** Finite elements that became Inf. */
	readonly overflow: number;
}

/**
 * Which factors carry the scaling: the product must hold each of them once. GLoRA is a sum of two products, so one
 * of each; both of its forms (old and new) are linear in b1 and in a1.
 */
export const CARRIERS: ReadonlyMap<TargetModule['family'], readonly (readonly Role[])[]> = new Map<
	TargetModule['family'],
	readonly (readonly Role[])[]
>([
	['lora', [['up'], ['up_bias']]],
	['locon', [['up'], ['up_bias']]],
	['loha', [['hada_w1_a']]],
	['lokr', [['lokr_w1', 'lokr_w1_a']]],
	['glora', [['glora_b1'], ['glora_a1']]],
	['embedding', [['embedding_up']]],
]);

/**
 * Half a unit in the last place, relative, plus the rounding of the float64 product before it. F16 is not here:
 * its normal range ends at 6e-5, where LoRA factors still have values, so only the data says what is lost there
 * (2^-11 above that, less exact below). The others' ends at 1e-38.
 */
const BOUNDS: ReadonlyMap<WritableFloat, number> = new Map<WritableFloat, number>([
	['BF16', 2 ** -8 + 2 ** -53],
	['F32', 2 ** -24 + 2 ** -53],
	['F64', 2 ** -53],
]);

/**
 * Multiply every module's scaling into its factors, for targets without a slot for alpha. Afterwards every module
 * has scaling 1, rule `one` and no alpha. Families without a scaling (norm, full, IA3, OFT, ...) are left alone;
 * so is DoRA's magnitude, which stands for V = W + s B A as before.
 *
 * Lazy: factors are computed when read, in float64, and rounded once. A power of two is exact (bound 0) where no
 * value leaves the dtype's normal range; for F16 the bound is left undefined, and `foldCounts` tells from the data. Dtypes that cannot be written by
 * rounding (8-bit floats) become F32. The alpha and scale tensors are among what the factor was made from.
 *
 * @throws {FormatError} `E_LORA_ALPHA` when a scaling is not finite or was not read.
 */
export function foldScaling(adapter: Adapter, options: FoldOptions = {}): Adapter {
	return { ...adapter, modules: adapter.modules.map((module) => foldModule(module, options)) };
}

/** The same for one module. @throws {FormatError} `E_LORA_ALPHA`. */
export function foldModule(module: TargetModule, options: FoldOptions = {}): TargetModule {
	if (module.rule === 'none' || module.rule === 'constraint') return module;
	if (!Number.isFinite(module.scaling)) {
		throw new FormatError(
			'E_LORA_ALPHA',
			`${module.component} ${module.path} has scaling ${module.scaling} (rule ${module.rule}), which cannot be folded; read the file with values.`,
			{
				at: module.path,
			},
		);
	}
	const carriers = CARRIERS.get(module.family);
	if (carriers === undefined) return module;
	const folded: Partial<Record<Role, Tensor>> = { ...module.factors };
	const sources = [module.alphaTensor, module.scaleTensor].filter((t) => t !== undefined);
	for (const alternatives of carriers) {
		const role = alternatives.find((r) => module.factors[r] !== undefined);
		const tensor = role === undefined ? undefined : module.factors[role];
		if (role === undefined || tensor === undefined) continue;
		folded[role] = foldTensor(tensor, module.scaling, sources, options);
	}
	return {
		...module,
		factors: folded,
		alpha: null,
		alphaSource: 'none',
		alphaTensor: undefined,
		scaleTensor: undefined,
		rule: 'one',
		scaling: 1,
	};
}

function foldTensor(tensor: Tensor, scaling: number, sources: readonly Tensor[], options: FoldOptions): Tensor {
	const from = [tensor, ...sources];
	const how = `scaling ${scaling} folded in`;
	if (scaling === 1) {
		// The bytes stay where they are; only alpha's tensor is now part of it.
		if (sources.length === 0) return tensor;
		return {
			dtype: tensor.dtype,
			shape: tensor.shape,
			nbytes: tensor.nbytes,
			range: tensor.range,
			origin: undefined,
			derivation: { from, how, errorBound: 0 },
			read: () => tensor.read(),
		};
	}
	const dtype = options.dtype ?? writable(tensor.dtype);
	const exact = isPowerOfTwo(scaling) || scaling === 0;
	const bound = BOUNDS.get(dtype);
	const errorBound = bound !== undefined && exact && precision(dtype) >= precision(tensor.dtype) ? 0 : bound;
	return computedTensor(dtype, tensor.shape, { from, how, errorBound }, async () => {
		const values = decodeFloats(tensor.dtype, await tensor.read());
		for (let i = 0; i < values.length; i++) values[i] = (values[i] ?? 0) * scaling;
		const bytes = encodeFloats(dtype, values);
		options.observe?.(lostValues(values, decodeFloats(dtype, bytes)));
		return bytes;
	});
}

/** Values of `exact` that rounding made 0 or Inf. */
function lostValues(exact: Float64Array, rounded: Float64Array): Pick<FoldCounts, 'underflow' | 'overflow'> {
	let underflow = 0;
	let overflow = 0;
	for (let i = 0; i < exact.length; i++) {
		const x = exact[i] ?? 0;
		const y = rounded[i] ?? 0;
		if (x !== 0 && y === 0) underflow++;
		else if (Number.isFinite(x) && !Number.isFinite(y)) overflow++;
	}
	return { underflow, overflow };
}

/** Read a factor and count what folding `scaling` into it loses. @throws {FormatError} `E_UNSUPPORTED_DTYPE`, and what reading throws. */
export async function foldCounts(tensor: Tensor, scaling: number, options: FoldOptions = {}): Promise<FoldCounts> {
	const dtype = options.dtype ?? writable(tensor.dtype);
	const values = decodeFloats(tensor.dtype, await tensor.read());
	const stored = decodeFloats(
		dtype,
		encodeFloats(
			dtype,
			values.map((x) => x * scaling),
		),
	);
	const counts = { rounded: 0, underflow: 0, overflow: 0 };
	values.forEach((x, i) => {
		const y = stored[i] ?? 0;
		// Dividing by the scaling would round too: the float64 product decides.
		if (Number.isFinite(x) && y !== x * scaling) counts.rounded++;
		if (x !== 0 && y === 0 && scaling !== 0) counts.underflow++;
		if (Number.isFinite(x) && !Number.isFinite(y)) counts.overflow++;
	});
	return counts;
}

/** Types that a rounded result is written in; others become F32, which holds every 8-bit float. */
function writable(dtype: DType): WritableFloat {
	return dtype === 'F16' || dtype === 'BF16' || dtype === 'F64' ? dtype : 'F32';
}

/** Bits of precision, for telling whether a target can hold a source's numbers. */
function precision(dtype: DType): number {
	return dtype === 'F64' ? 53 : dtype === 'F32' ? 24 : dtype === 'F16' ? 11 : 8;
}

/** True for 2^n, n any integer, and their negatives. */
function isPowerOfTwo(x: number): boolean {
	const log = Math.log2(Math.abs(x));
	return Number.isInteger(log) && 2 ** log === Math.abs(x);
}
