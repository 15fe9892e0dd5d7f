import type { Role, TargetModule } from '../../adapter.js';
import { castErrorBound } from '../../cast.js';
import type { DType } from '../../dtype.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../half.js';
import { bytesTensor, computedTensor, type Tensor } from '../../tensor.js';
import { CARRIERS } from '../fold-scaling.js';
import { scaledTensor } from '../naming/fuse-split-scale.js';

/** Factors that carry a strength which no alpha reaches: multiplied themselves. LoKr with both factors whole ignores its alpha. */
const SCALED: typeof CARRIERS = new Map<TargetModule['family'], readonly (readonly Role[])[]>([
	...CARRIERS,
	['full', [['diff'], ['diff_m']]],
	['norm', [['w_norm'], ['b_norm']]],
	['ia3', [['ia3_weight']]],
]);

/** Parts beside a product, which alpha does not reach. */
const BESIDE: readonly Role[] = ['diff_b', 'bias_values', 'bias_dense'];

/**
 * The same module with its delta times `by`. Through alpha (or `.scale`) where the module has a scaling, else in the
 * factors, rounded once in their own type. Undefined where the delta is not linear in anything that is stored: DoRA, OFT, BOFT, whole values.
 *
 * @param how `alpha`: leave the factors alone where alpha can say it; `fold`: into the factors in any case
 * @throws {FormatError} `E_LORA_DTYPE` for a factor in a type without arithmetic.
 */
export function scaleModule(module: TargetModule, by: number, how: 'alpha' | 'fold' = 'alpha'): TargetModule | undefined {
	if (by === 1) return module;
	if (module.factors.magnitude !== undefined) return undefined;
	if (module.family === 'peft-ia3') return scaledPeftIa3(module, by);
	const carriers = SCALED.get(module.family);
	if (carriers === undefined) return undefined;
	const said = how === 'alpha' ? scaledScaling(module, by) : undefined;
	const factors: Partial<Record<Role, Tensor>> = { ...module.factors };
	const multiply = (role: Role): void => {
		const tensor = module.factors[role];
		if (tensor !== undefined) factors[role] = scaledTensor(tensor, by);
	};
	if (said === undefined) {
		for (const roles of carriers) {
			const role = roles.find((r) => module.factors[r] !== undefined);
			if (role !== undefined) multiply(role);
		}
	}
	for (const role of BESIDE) multiply(role);
	return { ...module, ...said, factors };
}

type Said = Pick<TargetModule, 'alpha' | 'alphaSource' | 'alphaTensor' | 'scaleTensor' | 'rule' | 'scaling'>;

/** The scaling fields times `by`; undefined where there is no scaling to say. */
function scaledScaling(module: TargetModule, by: number): Said | undefined {
	const { rule, alpha, rank, alphaTensor, scaleTensor, alphaSource } = module;
	const scaling = module.scaling * by;
	if (rule === 'scale-tensor' && scaleTensor !== undefined)
		return { alpha, alphaSource, alphaTensor, rule, scaling, scaleTensor: scaledScalar(scaleTensor, scaling, 'scale') };
	if ((rule === 'alpha/rank' || rule === 'alpha/sqrt(rank)') && alpha !== null) {
		const value = alpha * by;
		const tensor = alphaTensor === undefined ? undefined : scaledScalar(alphaTensor, value, 'alpha');
		return { alpha: value, alphaSource, alphaTensor: tensor, scaleTensor, rule, scaling };
	}
	// Nobody says alpha, and it means rank: now somebody has to.
	if (rule === 'one' && rank !== undefined)
		return { alpha: rank * by, alphaSource: 'none', alphaTensor: undefined, scaleTensor, rule: 'alpha/rank', scaling };
	return undefined;
}

/** One number in the type that the file has it in where that is exact, else F32. */
function scaledScalar(old: Tensor, value: number, what: string): Tensor {
	const dtype = isWritable(old.dtype) && nearest(old.dtype, value) === value ? old.dtype : 'F32';
	const errorBound = nearest(dtype, value) === value ? 0 : castErrorBound('F64', dtype);
	return bytesTensor(dtype, old.shape, encodeFloats(dtype, Float64Array.of(value)), undefined, {
		from: [old],
		how: `${what} ${value} for another strength`,
		errorBound,
	});
}

/** W (l - 1) times `by` is W (l' - 1) with l' = 1 + by (l - 1). */
function scaledPeftIa3(module: TargetModule, by: number): TargetModule | undefined {
	const tensor = module.factors.ia3_l;
	if (tensor === undefined || !isWritable(tensor.dtype)) return undefined;
	const { dtype } = tensor;
	const derivation = { from: [tensor], how: `1 + ${by} (l - 1)`, errorBound: castErrorBound('F64', dtype) };
	const scaled = computedTensor(dtype, tensor.shape, derivation, async () =>
		encodeFloats(
			dtype,
			decodeFloats(dtype, await tensor.read()).map((l) => 1 + by * (l - 1)),
		),
	);
	return { ...module, factors: { ...module.factors, ia3_l: scaled } };
}

function nearest(dtype: WritableFloat, value: number): number {
	return decodeFloats(dtype, encodeFloats(dtype, Float64Array.of(value)))[0] ?? value;
}

function isWritable(dtype: DType): dtype is WritableFloat {
	return dtype === 'F16' || dtype === 'BF16' || dtype === 'F32' || dtype === 'F64';
}
