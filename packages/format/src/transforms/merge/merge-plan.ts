import { innerProduct } from '../../linalg/gram-inner.js';
import type { MergeGroup, MergePart } from './merge-align.js';
import { readStack, type Stack, type WeightedPart } from './merge-low-rank.js';
import { isSum, type MergeSettings } from './merge-method.js';
import { isWhole, readDense, weightKind } from './merge-part.js';
import { type SlerpProducts, slerpWeights } from './slerp.js';

/** What will be done with one module. */
export type GroupPlan = { readonly group: MergeGroup; readonly parts: readonly WeightedPart[] } & (
	| { readonly kind: 'off' | 'carried' | 'dense' | 'factors' | 'whole' }
	| { readonly kind: 'stack'; readonly stack: Stack /** Truncate to this rank. */; readonly rank: number | undefined }
);

/**
 * Decide what becomes of one module: the parts that count and their numbers, and in which form they are put together.
 * SLERP's numbers come from the inner product of the two deltas, which are read for it.
 */
export async function planGroup(group: MergeGroup, settings: MergeSettings): Promise<GroupPlan> {
	// A strength of 0 adds nothing to a sum; where signs are elected it still has a vote, as in PEFT.
	const counted =
		isSum(settings.method) || group.parts.every(({ strength }) => strength === 0)
			? group.parts.filter(({ strength }) => strength !== 0)
			: group.parts;
	const parts =
		settings.method === 'slerp' ? await slerpParts(counted, settings) : counted.map((part) => ({ part, weight: part.strength }));
	if (parts.length === 0) return { group, parts, kind: 'off' };
	const whole = parts.every(({ part }) => isWhole(part.module));
	if (settings.on === 'factors' && !whole) return { group, parts, kind: 'factors' };
	if (whole) return { group, parts, kind: 'whole' };
	if (!isSum(settings.method)) return { group, parts, kind: 'dense' };
	const [only] = parts;
	if (parts.length === 1 && only !== undefined && settings.rank === undefined && mayCarry(only.part, settings))
		return { group, parts, kind: 'carried' };
	const kinds = parts.map(({ part }) => weightKind(part.module));
	if (kinds.includes('dense') || settings.rank === 'full') return { group, parts, kind: 'dense' };
	const products = parts.filter((_, i) => kinds[i] === 'product');
	const stack: Stack = {
		where: `${group.component} ${group.path}`,
		parts: products,
		common: undefined,
		inventory: settings.base?.inventory,
	};
	return {
		group,
		parts,
		kind: 'stack',
		stack,
		rank: typeof settings.rank === 'number' || settings.method === 'svd' ? rankFor(products, settings) : undefined,
	};
}

/** The rank that a module is truncated to: what was asked for, else the largest among the inputs, as PEFT does. */
export function rankFor(parts: readonly WeightedPart[], settings: MergeSettings): number {
	if (typeof settings.rank === 'number') return settings.rank;
	let most = 1;
	for (const { part } of parts) most = Math.max(most, part.module.rank ?? 1);
	return most;
}

/** Plain LoRA goes the common way; what is no LoRA, or more than one, stays as it is where nothing is added to it. */
function mayCarry({ module, strength }: MergePart, settings: MergeSettings): boolean {
	if (settings.method === 'slerp') return false;
	const kind = weightKind(module);
	if (kind === 'product')
		return settings.carry !== 'lora' && (module.family === 'loha' || module.family === 'lokr' || module.factors.mid !== undefined);
	// Not linear in what is stored: only at full strength.
	if (module.factors.magnitude !== undefined || NOT_LINEAR.has(module.family)) return strength === 1;
	return kind === 'dense';
}

const NOT_LINEAR: ReadonlySet<string> = new Set(['oft', 'boft', 'peft-oft', 'peft-boft', 'whole']);

/** A module that one adapter alone has is interpolated with nothing: linearly. */
async function slerpParts(parts: readonly MergePart[], settings: MergeSettings): Promise<readonly WeightedPart[]> {
	const { t } = settings;
	const [a, b] = [parts.find((p) => p.input === 0), parts.find((p) => p.input === 1)];
	if (a === undefined || b === undefined) {
		return parts.map((part) => ({ part, weight: part.strength * (part.input === 0 ? 1 - t : t) })).filter(({ weight }) => weight !== 0);
	}
	const [wa, wb] = slerpWeights(await innerProducts(a, b, settings), t);
	return [
		{ part: a, weight: a.strength * wa },
		{ part: b, weight: b.strength * wb },
	].filter(({ weight }) => weight !== 0);
}

async function innerProducts(a: MergePart, b: MergePart, settings: MergeSettings): Promise<SlerpProducts> {
	if (weightKind(a.module) === 'product' && weightKind(b.module) === 'product') {
		const where = `${a.module.component} ${a.module.path}`;
		const [one, two] = [
			await readStack({ where, parts: [{ part: a, weight: a.strength }], common: undefined }),
			await readStack({ where, parts: [{ part: b, weight: b.strength }], common: undefined }),
		];
		return { aa: innerProduct(one, one), bb: innerProduct(two, two), ab: innerProduct(one, two) };
	}
	const [one, two] = [await readDense(a, a.strength, settings.base), await readDense(b, b.strength, settings.base)];
	const [x, y] = [one.weight?.data ?? one.bias ?? new Float64Array(0), two.weight?.data ?? two.bias ?? new Float64Array(0)];
	return { aa: dot(x, x), bb: dot(y, y), ab: dot(x, y) };
}

function dot(a: Float64Array, b: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < Math.min(a.length, b.length); i++) sum += (a[i] ?? 0) * (b[i] ?? 0);
	return sum;
}
