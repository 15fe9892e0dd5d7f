import type { DType } from '../../dtype.js';
import { isFloat } from '../../dtype.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../half.js';
import type { MergeGroup, MergePart } from './merge-align.js';
import { equalScaling, readStack, type Stack } from './merge-low-rank.js';
import type { MergeSettings } from './merge-method.js';
import type { GroupPlan } from './merge-plan.js';

/** A stored type, and the plans as that type lets them be. */
export interface ChosenDtype {
	readonly dtype: WritableFloat;
	readonly plans: readonly GroupPlan[];
	readonly notes: readonly string[];
}

/**
 * The type that the result is stored in: what was asked for; else the widest of the inputs, but F32 in the place of half precision where a scaling
 * multiplied into the factors would round them. A scaling that all parts of a module share may stay in alpha instead.
 */
export async function chooseDtype(plans: readonly GroupPlan[], settings: MergeSettings): Promise<ChosenDtype> {
	const widest = widestOf(plans.map((p) => p.group));
	const dtype = settings.dtype ?? widest;
	const out: GroupPlan[] = [];
	let rounded: string | undefined;
	for (const plan of plans) {
		const next = await foldedOrKept(plan, dtype, settings);
		if (next === undefined) rounded ??= `${plan.group.component} ${plan.group.path}`;
		out.push(next ?? plan);
	}
	if (settings.dtype !== undefined || !isHalf(dtype) || rounded === undefined) return { dtype, plans: out, notes: [] };
	return {
		dtype: 'F32',
		plans: out,
		notes: [
			`The factors are ${dtype}, but their scalings would round them there (first: ${rounded}); the result is F32. --dtype ${dtype.toLowerCase()} rounds.`,
		],
	};
}

/** The plan under which nothing is rounded that need not be; undefined where scalings or sums would round half precision. */
async function foldedOrKept(plan: GroupPlan, dtype: WritableFloat, settings: MergeSettings): Promise<GroupPlan | undefined> {
	const { parts } = plan;
	if (plan.kind === 'carried') {
		const untouched = ({ part }: GroupPlan['parts'][number]): boolean =>
			settings.scaling === 'fold' ? isPowerOfTwo(part.module.scaling * part.strength) : saysStrength(part) || isPowerOfTwo(part.strength);
		return parts.every(untouched) ? plan : undefined;
	}
	if (settings.method !== 'concat') return plan;
	if (plan.kind === 'whole' || plan.kind === 'dense')
		return plan.kind === 'whole' && parts.length === 1 && parts.every(({ weight }) => isPowerOfTwo(weight)) ? plan : undefined;
	if (plan.kind !== 'stack') return plan;
	const { stack } = plan;
	const plain = stack.parts.every(
		({ part }) => part.module.factors.mid === undefined && (part.module.family === 'lora' || part.module.family === 'embedding'),
	);
	if (plain && stack.parts.every(({ part, weight }) => part.module.scaling * weight === 1)) return plan;
	const low = await readStack(stack);
	const powers = stack.parts.every(({ part, weight }) => isPowerOfTwo(part.module.scaling * weight));
	// Factors that were expanded (a core folded in, LoHa) may need more bits than the inputs had.
	if (powers && isExact(low.up.data, dtype) && (plain || isExact(low.down.data, dtype))) return plan;
	const common = settings.scaling === 'fold' ? undefined : equalScaling(stack.parts);
	if (common === undefined) return undefined;
	// Where alpha itself would be rounded (tensors of alpha are F32), a factor of F32 or F64 holds the product as well or better.
	const alpha = common * low.up.cols;
	if (!isHalf(dtype) && Math.fround(alpha) !== alpha) return undefined;
	const kept: Stack = { ...stack, common };
	if (!plain) {
		const { up, down } = await readStack(kept);
		if (!isExact(up.data, dtype) || !isExact(down.data, dtype)) return undefined;
	}
	return { ...plan, stack: kept };
}

/** True when the strength of a carried module goes into its alpha. */
function saysStrength({ strength, module }: MergePart): boolean {
	return strength === 1 || (module.rank !== undefined && module.rule !== 'none');
}

function isHalf(dtype: WritableFloat): boolean {
	return dtype === 'F16' || dtype === 'BF16';
}

function widestOf(groups: readonly MergeGroup[]): WritableFloat {
	const seen = new Set<DType>();
	for (const { parts } of groups) {
		for (const { module } of parts)
			for (const tensor of Object.values(module.factors)) if (tensor !== undefined && isFloat(tensor.dtype)) seen.add(tensor.dtype);
	}
	if (seen.has('F64')) return 'F64';
	if (seen.size === 1 && seen.has('F16')) return 'F16';
	// F16 and BF16 hold each other's values only in F32; so do the 8-bit types.
	if (seen.size === 1 && seen.has('BF16')) return 'BF16';
	return 'F32';
}

function isExact(values: Float64Array, dtype: WritableFloat): boolean {
	const stored = decodeFloats(dtype, encodeFloats(dtype, values));
	for (let i = 0; i < values.length; i++) if (stored[i] !== values[i]) return false;
	return true;
}

/** True for 2^n, -2^n and 0: multiplying with them loses no bit. */
function isPowerOfTwo(x: number): boolean {
	const log = Math.log2(Math.abs(x));
	return x === 0 || (Number.isInteger(log) && 2 ** log === Math.abs(x));
}
