import type { Role, TargetModule } from '../../adapter.js';
import { FormatError, quote } from '../../errors.js';
import type { NamedParts } from '../../modules/naming-table.js';
import { bytesTensor, type Tensor } from '../../tensor.js';
import { blockDiagonal, concatRows, identicalTensor, type RowPart, sameTensor } from './fuse-split.js';
import { scaledTensor } from './fuse-split-scale.js';
import { factorEntries, factorKind, unsupported } from './rename-naming-split.js';

/** What one part was before it went on the block diagonal; rank 0 for a part that the adapter lacks. */
export interface PartSlot {
	readonly rank: number;
	readonly alpha: number | null;
	readonly rule: 'alpha/rank' | 'one';
}

export interface Fused {
	readonly module: TargetModule;
	/** Given when the parts can be had back exactly from the blocks. */
	readonly slots: readonly PartSlot[] | undefined;
}

/** Up and down factors of each pair that a family multiplies. */
const PAIRS: readonly (readonly [up: Role, down: Role])[] = [
	['up', 'down'],
	['hada_w1_a', 'hada_w1_b'],
	['hada_w2_a', 'hada_w2_b'],
];

/**
 * One fused module from its parts. Parts with one down factor (the very tensor, or said so by `fromOne`) are put
 * back by rows; others go on a block diagonal whose rank is the sum. Equal scalings stay as they are (alpha grows
 * with the rank); unequal ones are folded into the up factors. A missing part is zero rows.
 * @throws {FormatError} `E_UNSUPPORTED_ADAPTER`, `E_LORA_SHAPE`, `E_LORA_DTYPE`.
 */
export function fuseParts(
	named: NamedParts,
	slots: ReadonlyMap<number, TargetModule>,
	heights: readonly number[],
	fromOne: boolean,
): Fused {
	const modules = named.parts.map((_, n) => slots.get(n));
	const present = modules.filter((m) => m !== undefined);
	const [first] = present;
	if (first === undefined) throw new TypeError('no parts');
	for (const module of present) checkPart(first, module, present.length === modules.length);
	const shared = rolesOf(first).filter((role) => factorKind(first, role, 'fused') === 'shared');
	const sameScale = present.every((m) => Object.is(m.scaling, first.scaling) && m.alpha === first.alpha && m.rank === first.rank);
	const one = shared.every((role) => {
		const tensors = present.map((m) => factor(m, role));
		const head = tensors[0];
		return head !== undefined && tensors.every((t) => sameTensor(head, t) || (fromOne && sameForm(head, t)));
	});
	if (one && sameScale) {
		const factors: Partial<Record<Role, Tensor>> = {};
		for (const role of rolesOf(first)) {
			factors[role] = shared.includes(role)
				? identicalTensor(present.map((m) => factor(m, role)))
				: concatRows(rowParts(modules, role, heights));
		}
		return { module: { ...first, path: named.native, factors, ...scalars(present) }, slots: undefined };
	}
	return onDiagonal(named, modules, present, first, heights);
}

function onDiagonal(
	named: NamedParts,
	modules: readonly (TargetModule | undefined)[],
	present: readonly TargetModule[],
	first: TargetModule,
	heights: readonly number[],
): Fused {
	const roles = rolesOf(first);
	if (first.family !== 'lora' && first.family !== 'loha')
		throw unsupported(first, 'fused', `${first.family} factors have no block-diagonal form`);
	if (roles.includes('mid')) throw unsupported(first, 'fused', 'a convolution core cannot go on a block diagonal');
	const rank = present.reduce((sum, m) => sum + (m.rank ?? 0), 0);
	const equal = present.every((m) => Object.is(m.scaling, first.scaling));
	// alpha / rank must give the same double back; with n equal ranks alpha is n times the old one, and it does.
	const alpha = first.rule === 'one' && equal ? null : equal ? first.scaling * rank : rank;
	const fold = !(equal && (alpha === null || Object.is(alpha / rank, first.scaling) || Number.isNaN(first.scaling)));
	const scaled = fold ? present.map((m) => scaledUp(m)) : present;
	const byPart = new Map(present.map((m, n) => [m, scaled[n] ?? m]));
	const parts = modules.map((m) => (m === undefined ? undefined : byPart.get(m)));
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [up, down] of PAIRS) {
		if (!roles.includes(up)) continue;
		factors[up] = blockDiagonal(rowParts(parts, up, heights));
		factors[down] = concatRows(scaled.map((m) => factor(m, down)));
	}
	for (const role of roles) if (factors[role] === undefined) factors[role] = concatRows(rowParts(parts, role, heights));
	const module: TargetModule = {
		...first,
		path: named.native,
		factors,
		rank,
		alpha: fold ? rank : alpha,
		alphaSource: fold || alpha !== null ? (first.alphaSource === 'none' ? 'tensor' : first.alphaSource) : 'none',
		alphaTensor: fusedAlpha(present, fold ? rank : alpha),
		scaleTensor: undefined,
		rule: fold ? 'alpha/rank' : first.rule === 'one' ? 'one' : first.rule === 'unread' ? 'unread' : 'alpha/rank',
		scaling: fold ? 1 : first.scaling,
	};
	const plain = present.every((m) => (m.rule === 'alpha/rank' || m.rule === 'one') && m.family === 'lora');
	if (fold || !plain) return { module, slots: undefined };
	return { module, slots: modules.map(slotOf) };
}

/** The scalars of parts that are equal: one of each that stands for all. */
function scalars(present: readonly TargetModule[]): Pick<TargetModule, 'alphaTensor' | 'scaleTensor'> {
	const alphas = present.map((m) => m.alphaTensor).filter((t) => t !== undefined);
	const scales = present.map((m) => m.scaleTensor).filter((t) => t !== undefined);
	return {
		alphaTensor: alphas.length === 0 ? undefined : identicalTensor(alphas),
		scaleTensor: scales.length === 0 ? undefined : identicalTensor(scales),
	};
}

/** A scalar with the alpha of the fused rank, made from those of the parts. */
function fusedAlpha(present: readonly TargetModule[], alpha: number | null): Tensor | undefined {
	const from = present.flatMap((m) => [m.alphaTensor, m.scaleTensor]).filter((t) => t !== undefined);
	if (from.length === 0 || alpha === null) return undefined;
	return bytesTensor('F32', [], new Uint8Array(new Float32Array([alpha]).buffer), undefined, {
		from,
		how: 'alpha of the fused rank',
		errorBound: 2 ** -24,
	});
}

function slotOf(module: TargetModule | undefined): PartSlot {
	if (module === undefined) return { rank: 0, alpha: null, rule: 'one' };
	return { rank: module.rank ?? 0, alpha: module.alpha, rule: module.rule === 'one' ? 'one' : 'alpha/rank' };
}

/** Scaling into the factor that is linear in it; `up_bias` is not scaled by any reader. */
function scaledUp(module: TargetModule): TargetModule {
	const role: Role = module.family === 'loha' ? 'hada_w1_a' : 'up';
	return { ...module, factors: { ...module.factors, [role]: scaledTensor(factor(module, role), module.scaling) } };
}

function checkPart(first: TargetModule, module: TargetModule, complete: boolean): void {
	if (module.family !== first.family) {
		throw unsupported(module, 'fused', `it is a ${module.family} adapter and ${quote(first.path)} beside it is ${first.family}`);
	}
	const [a, b] = [rolesOf(first), rolesOf(module)];
	if (a.length !== b.length || a.some((role) => !b.includes(role))) {
		throw unsupported(module, 'fused', `it has other factors (${b.join(', ')}) than ${quote(first.path)} beside it (${a.join(', ')})`);
	}
	for (const role of b) factorKind(module, role, 'fused');
	if (b.includes('magnitude') && !complete) {
		throw unsupported(module, 'fused', 'its DoRA magnitude would need the norms of parts that the adapter lacks');
	}
}

function rowParts(modules: readonly (TargetModule | undefined)[], role: Role, heights: readonly number[]): RowPart[] {
	return modules.map((module, n) => {
		const height = heights[n] ?? 0;
		if (module === undefined) return height;
		const tensor = factor(module, role);
		if (tensor.shape[0] === height) return tensor;
		throw new FormatError(
			'E_LORA_SHAPE',
			`Factor ${role} of ${quote(module.path)} has shape (${tensor.shape.join(', ')}), but ${height} rows are needed to fuse it.`,
			{ at: tensor.origin ?? module.path },
		);
	});
}

function sameForm(a: Tensor, b: Tensor): boolean {
	return a.dtype === b.dtype && a.shape.length === b.shape.length && a.shape.every((d, i) => d === b.shape[i]);
}

function rolesOf(module: TargetModule): Role[] {
	return factorEntries(module).map(([role]) => role);
}

function factor(module: TargetModule, role: Role): Tensor {
	const tensor = module.factors[role];
	if (tensor === undefined) throw unsupported(module, 'fused', `it lacks the factor ${role}`);
	return tensor;
}
