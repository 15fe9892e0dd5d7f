import type { Role, TargetModule } from '../../adapter.js';
import { castTensor } from '../../cast.js';
import { isFloat } from '../../dtype.js';
import { FormatError } from '../../errors.js';
import { decodeFloats, type WritableFloat } from '../../half.js';
import type { Tensor } from '../../tensor.js';
import { foldModule } from '../fold-scaling.js';
import { scaleModule } from '../strength/scale-module.js';
import { mergeDense, NO_SCALING } from './merge-dense.js';
import { arrayError, roundingError } from './merge-error.js';
import { mergeFactors } from './merge-factors.js';
import { type LowRankFactors, lost, readStack, scalingFields, storeLowRank } from './merge-low-rank.js';
import type { GroupPlan } from './merge-plan.js';
import { derivationOf, type ModuleContext, type ModuleResult, moduleShell, reportHead, withBias } from './merge-shell.js';
import { truncated } from './merge-truncate.js';
import type { MergedModule } from './merge-types.js';

/** Build one module as planned. @throws {FormatError} of reading and computing; every message names the module. */
export async function mergeModule(plan: GroupPlan, context: ModuleContext): Promise<ModuleResult> {
	switch (plan.kind) {
		case 'carried':
			return carried(plan, context);
		case 'stack':
			return plan.rank === undefined ? stacked(plan, context) : truncatedStack(plan, plan.rank, context);
		case 'factors':
			return mergeFactors(plan, context);
		default:
			return mergeDense(plan, context);
	}
}

async function stacked(plan: Extract<GroupPlan, { kind: 'stack' }>, { dtype, keep }: ModuleContext): Promise<ModuleResult> {
	const { stack } = plan;
	if (stack.parts.length === 0) return biasAlone(plan, dtype);
	const low = await readStack(stack);
	const stored = storeLowRank(
		stack.where,
		low,
		dtype,
		derivationOf(plan, stackWords(stack.parts.length)),
		keep,
		() => readStack(stack),
		isEmbedding(plan),
	);
	const rounding = roundingError({ ...low, storedUp: stored.storedUp, storedDown: stored.storedDown });
	const common = stack.common ?? 1;
	const alpha = common * stored.rank;
	// Alpha goes into an F32 tensor in most layouts; a folded scaling was rounded to a double.
	const scaling = stack.common === undefined ? foldingError(plan) : Math.abs(Math.fround(alpha) - alpha) / Math.abs(alpha || 1);
	const fields = stack.common === undefined ? scalingFields(stored.rank) : scalingFields(stored.rank, common);
	return finish(
		plan,
		await withBias(plan, dtype, stored.factors),
		stored,
		fields,
		'concat',
		rounding === null ? null : rounding + scaling,
		0,
	);
}

async function truncatedStack(plan: Extract<GroupPlan, { kind: 'stack' }>, rank: number, context: ModuleContext): Promise<ModuleResult> {
	const { stack } = plan;
	if (stack.parts.length === 0) return biasAlone(plan, context.dtype);
	const low = await readStack(stack);
	const [out, columns] = [low.up.rows, low.down.cols];
	// The sum has no more rank than that: nothing to truncate, and side by side is exact.
	if (low.up.cols <= Math.min(rank, out, columns)) return stacked({ ...plan, rank: undefined }, context);
	const result = truncated(
		stack.where,
		low,
		Math.min(rank, out, columns),
		context.dtype,
		derivationOf(plan, `sum of ${stack.parts.length} truncated to rank ${rank}`),
		isEmbedding(plan),
	);
	return finish(
		plan,
		await withBias(plan, context.dtype, result.factors),
		result,
		scalingFields(result.rank),
		'svd',
		result.error,
		result.truncation,
	);
}

function finish(
	plan: GroupPlan,
	factors: Readonly<Partial<Record<Role, Tensor>>>,
	stored: Pick<LowRankFactors, 'family' | 'rank' | 'underflow'>,
	fields: ReturnType<typeof scalingFields>,
	how: MergedModule['how'],
	error: number | null,
	truncation: number,
): ModuleResult {
	return {
		module: { ...moduleShell(plan), family: stored.family, factors, ...fields },
		report: { ...reportHead(plan), family: stored.family, how, rank: stored.rank, error, truncation },
		underflow: stored.underflow,
	};
}

/** Parts that touch nothing but the bias. */
async function biasAlone(plan: GroupPlan, dtype: WritableFloat): Promise<ModuleResult> {
	const factors = await withBias(plan, dtype, {});
	return {
		module: {
			...moduleShell(plan),
			family: 'full',
			factors,
			...NO_SCALING,
		},
		report: { ...reportHead(plan), family: 'full', how: 'dense', rank: null, error: 0, truncation: 0 },
		underflow: 0,
	};
}

/** One adapter's own factors: the strength in alpha where there is one, each float factor in the stored type. */
async function carried(plan: GroupPlan, { dtype, settings }: ModuleContext): Promise<ModuleResult> {
	const [only] = plan.parts;
	if (only === undefined) throw new TypeError('nothing to carry');
	const { module, strength } = only.part;
	// Multiplied in F64 and rounded once; where alpha says the strength the factors are not touched.
	const wide = castFactors(module, 'F64');
	let scaled = scaleModule(module, strength);
	let exact = scaleModule(wide, strength);
	if (settings.scaling === 'fold') {
		scaled = scaled && foldModule(scaled);
		exact = exact && foldModule(exact, { dtype: 'F64' });
	}
	if (scaled === undefined || exact === undefined) {
		throw new FormatError(
			'E_UNSUPPORTED_ADAPTER',
			`${plan.group.component} ${plan.group.path} is ${module.family}, whose strength no file can say.`,
			{
				at: plan.group.path,
			},
		);
	}
	const factors: Partial<Record<Role, Tensor>> = {};
	let error: number | null = 0;
	let underflow = 0;
	for (const [role, tensor] of Object.entries(scaled.factors) as [Role, Tensor][]) {
		const untouched = tensor === module.factors[role];
		if (!isFloat(tensor.dtype) || (untouched && tensor.dtype === dtype)) {
			factors[role] = tensor;
			continue;
		}
		const source = untouched ? tensor : (exact.factors[role] ?? tensor);
		const made = castTensor(source, dtype);
		factors[role] = made;
		if (made.derivation?.errorBound === 0) continue;
		const values = decodeFloats(source.dtype, await source.read());
		const stored = decodeFloats(dtype, await made.read());
		underflow += lost(`${plan.group.component} ${plan.group.path}`, dtype, values, stored);
		const own = arrayError(values, stored);
		error = own === null || error === null ? null : Math.max(error, own);
	}
	return {
		module: { ...scaled, factors },
		report: { ...reportHead(plan), family: module.family, how: 'carried', rank: module.rank ?? null, error, truncation: 0 },
		underflow,
	};
}

function castFactors(module: TargetModule, dtype: WritableFloat): TargetModule {
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, tensor] of Object.entries(module.factors) as [Role, Tensor][])
		factors[role] = isFloat(tensor.dtype) ? castTensor(tensor, dtype) : tensor;
	return { ...module, factors };
}

/** Multiplying a scaling in rounds each number to a double, unless it is a power of two: no more than this. */
function foldingError(plan: Extract<GroupPlan, { kind: 'stack' }>): number {
	return plan.stack.parts.every(
		({ part, weight }) => part.module.scaling * weight === 0 || Number.isInteger(Math.log2(Math.abs(part.module.scaling * weight))),
	)
		? 0
		: 2 ** -53;
}

function isEmbedding(plan: GroupPlan): boolean {
	return plan.parts.every(({ part }) => part.module.family === 'embedding');
}

function stackWords(count: number): string {
	return count === 1 ? 'scaling multiplied in' : `${count} side by side, scalings multiplied in`;
}
