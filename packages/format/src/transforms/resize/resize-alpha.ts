import type { TargetModule } from '../../adapter.js';
import type { DType } from '../../dtype.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../half.js';
import { bytesTensor, type Tensor } from '../../tensor.js';

/** The fields of a module that say its strength. */
export interface RankedScaling
	extends Pick<TargetModule, 'rank' | 'alpha' | 'alphaSource' | 'alphaTensor' | 'scaleTensor' | 'rule' | 'scaling'> {
	/** True scaling / the scaling that the fields give once stored: 1 but where alpha had to be rounded. Goes into a factor. */
	readonly gain: number;
}

/**
 * The same scaling at another rank: alpha moves with it (alpha / rank, or alpha / sqrt(rank), stays). So strengths
 * that a user is used to stay what they were. A family whose alpha means nothing (LoKr with both factors whole)
 * becomes a LoRA that says none: scaling 1. The alpha tensor keeps its type where the new value is exact in it, else F32.
 */
export function scalingAtRank(module: TargetModule, rank: number): RankedScaling {
	const { rule, alpha } = module;
	if (rule === 'one' || rule === 'none' || alpha === null) {
		const kept = rule === 'scale-tensor';
		return {
			rank,
			alpha: null,
			alphaSource: 'none',
			alphaTensor: undefined,
			scaleTensor: kept ? module.scaleTensor : undefined,
			rule: kept ? rule : 'one',
			scaling: kept ? module.scaling : 1,
			gain: 1,
		};
	}
	const wanted = alphaAtRank(module, alpha, rank);
	const { alphaTensor, value } = storedAlpha(module, wanted);
	const scaling = rule === 'alpha/rank' ? value / rank : rule === 'alpha/sqrt(rank)' ? value / Math.sqrt(rank) : module.scaling;
	const gain = scaling === 0 || scaling === module.scaling ? 1 : module.scaling / scaling;
	return { rank, alpha: value, alphaSource: module.alphaSource, alphaTensor, scaleTensor: module.scaleTensor, rule, scaling, gain };
}

/** From alpha itself, not from the scaling, which was rounded when alpha was divided: 1 at rank 3 is exactly 2 at rank 6. */
function alphaAtRank(module: TargetModule, alpha: number, rank: number): number {
	if (module.rank === undefined) return module.scaling * (module.rule === 'alpha/sqrt(rank)' ? Math.sqrt(rank) : rank);
	return module.rule === 'alpha/sqrt(rank)' ? alpha * Math.sqrt(rank / module.rank) : (alpha * rank) / module.rank;
}

function storedAlpha(module: TargetModule, alpha: number): { readonly alphaTensor: Tensor | undefined; readonly value: number } {
	const old = module.alphaTensor;
	if (old === undefined || module.alphaSource !== 'tensor') return { alphaTensor: old, value: alpha };
	const dtype = isWritable(old.dtype) && nearest(old.dtype, alpha) === alpha ? old.dtype : 'F32';
	const value = nearest(dtype, alpha);
	const bytes = encodeFloats(dtype, Float64Array.of(value));
	const bound = value === alpha ? 0 : 2 ** -24;
	const how = `alpha ${value} for the new rank, so that the scaling stays`;
	return { alphaTensor: bytesTensor(dtype, old.shape, bytes, undefined, { from: [old], how, errorBound: bound }), value };
}

function nearest(dtype: WritableFloat, value: number): number {
	return decodeFloats(dtype, encodeFloats(dtype, Float64Array.of(value)))[0] ?? value;
}

function isWritable(dtype: DType): dtype is WritableFloat {
	return dtype === 'F16' || dtype === 'BF16' || dtype === 'F32' || dtype === 'F64';
}

/** The type that new factors of a module are stored in: that of its first factor, F32 for types that cannot be rounded to. */
export function storedDtype(module: TargetModule): WritableFloat {
	const first = module.factors.up ?? Object.values(module.factors)[0];
	return first !== undefined && isWritable(first.dtype) ? first.dtype : 'F32';
}
