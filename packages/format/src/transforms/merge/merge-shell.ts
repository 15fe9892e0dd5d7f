import type { Role, TargetModule } from '../../adapter.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../half.js';
import { bytesTensor, type Derivation, type Tensor } from '../../tensor.js';
import { arrayError } from './merge-error.js';
import { type KeepBudget, lost, tensorsOf } from './merge-low-rank.js';
import type { MergeSettings } from './merge-method.js';
import { readBias, sum } from './merge-part.js';
import type { GroupPlan } from './merge-plan.js';
import type { MergedModule } from './merge-types.js';

/** What merging one module needs beside its plan. */
export interface ModuleContext {
	readonly settings: MergeSettings;
	readonly dtype: WritableFloat;
	readonly keep: KeepBudget;
}

/** A merged module and its report. */
export interface ModuleResult {
	readonly module: TargetModule;
	readonly report: MergedModule;
	/** Nonzero numbers that rounding made 0. */
	readonly underflow: number;
}

/** Everything of a module but its factors and scaling. */
export function moduleShell(plan: GroupPlan): Pick<TargetModule, 'component' | 'path' | 'resolved' | 'magnitudeAxis'> {
	const { component, path, resolved } = plan.group;
	return { component, path, resolved, magnitudeAxis: undefined };
}

/** What the report of every module says. */
export function reportHead(plan: GroupPlan): Pick<MergedModule, 'component' | 'path' | 'inputs' | 'sumOfRanks'> {
	const ranks = plan.parts.map(({ part }) => part.module.rank);
	return {
		component: plan.group.component,
		path: plan.group.path,
		inputs: plan.parts.map(({ part }) => part.name),
		sumOfRanks: ranks.some((r) => r === undefined) ? null : ranks.reduce<number>((n, r) => n + (r ?? 0), 0),
	};
}

/** What a merged factor was made from. */
export function derivationOf(plan: GroupPlan, how: string): Derivation {
	return { from: tensorsOf(plan.parts.map(({ part }) => part)), how, errorBound: undefined };
}

/** An array as a stored factor. @throws {FormatError} `E_NONFINITE`. */
export function storeArray(
	plan: GroupPlan,
	dtype: WritableFloat,
	shape: readonly number[],
	values: Float64Array,
	how: string,
): { readonly tensor: Tensor; readonly error: number | null; readonly underflow: number } {
	const bytes = encodeFloats(dtype, values);
	const stored = decodeFloats(dtype, bytes);
	const underflow = lost(`${plan.group.component} ${plan.group.path}`, dtype, values, stored);
	return { tensor: bytesTensor(dtype, shape, bytes, undefined, derivationOf(plan, how)), error: arrayError(values, stored), underflow };
}

/** Add the bias that the side factors come to. The role is the inputs' own where all have one. */
export async function withBias(
	plan: GroupPlan,
	dtype: WritableFloat,
	factors: Readonly<Partial<Record<Role, Tensor>>>,
): Promise<Readonly<Partial<Record<Role, Tensor>>>> {
	let bias: Float64Array | undefined;
	for (const { part, weight } of plan.parts) bias = sum(bias, await readBias(part, weight));
	if (bias === undefined) return factors;
	const role: Role = plan.parts.some(({ part }) => part.module.factors.diff_b !== undefined) ? 'diff_b' : 'up_bias';
	return { ...factors, [role]: storeArray(plan, dtype, [bias.length], bias, 'sum of the biases').tensor };
}
