import type { Role, TargetModule } from '../../adapter.js';
import { FormatError } from '../../errors.js';
import type { Values } from '../../families/delta.js';
import { deltaOf, needsBase } from '../../families/index.js';
import { decodeFloats } from '../../half.js';
import { kernel } from '../../kernel/index.js';
import type { LowRank } from '../../linalg/low-rank.js';
import type { Tensor } from '../../tensor.js';
import { finiteScaling, lowRankOf } from '../product/low-rank-of.js';
import type { MergePart } from './merge-align.js';
import type { MergeBase } from './merge-types.js';

/** Roles of a bias beside the factors of a weight. */
const BIASES: readonly Role[] = ['up_bias', 'diff_b'];
/** Roles that add something to the weight beside its product. */
const DENSE_BESIDE: readonly Role[] = ['bias_indices', 'bias_values', 'bias_size', 'bias_dense'];
const PRODUCTS: ReadonlySet<string> = new Set(['lora', 'locon', 'loha', 'lokr', 'embedding']);

/** What a part does to the weight: a product of thin matrices, a whole difference, or nothing (biases alone). */
export type WeightKind = 'product' | 'dense' | 'none';

/** How a module's weight is to be read; nothing is read yet. */
export function weightKind(module: TargetModule): WeightKind {
	if (needsBase(module)) return 'dense';
	if (PRODUCTS.has(module.family)) return DENSE_BESIDE.some((role) => module.factors[role] !== undefined) ? 'dense' : 'product';
	if (module.family === 'norm') return module.factors.w_norm === undefined ? 'none' : 'dense';
	return module.factors.diff === undefined && module.factors.diff_m === undefined ? 'none' : 'dense';
}

/** True for differences that are stored whole and stay so: no rank is asked of them. */
export function isWhole(module: TargetModule): boolean {
	return module.family === 'full' || module.family === 'norm';
}

/**
 * The product of a part of kind `product`, its scaling (unless `scaling` says another) and `strength` in `up`.
 * @throws {FormatError} of `lowRankOf`, and `E_NONFINITE`.
 */
export async function readProduct(part: MergePart, strength: number, scaling?: number): Promise<LowRank> {
	const bare = without(part.module, BIASES);
	const low = await lowRankOf(scaling === undefined ? bare : { ...bare, scaling }, strength);
	if (low === undefined) throw new TypeError(`${part.module.family} is no product`);
	requireFinite(part, low.up.data);
	requireFinite(part, low.down.data);
	return low;
}

/** What a part adds to weight and bias. */
export interface DensePart {
	readonly weight: Values | undefined;
	readonly bias: Float64Array | undefined;
}

/**
 * A part's whole difference at a strength: the product of its factors, or what `deltaOf` says.
 * @throws {FormatError} of `deltaOf`; `E_BASE_MISMATCH` where a base is needed and there is none; `E_NONFINITE`.
 */
export async function readDense(part: MergePart, strength: number, base: MergeBase | undefined): Promise<DensePart> {
	const { module } = part;
	const side = await readBias(part, strength);
	const bare = without(module, BIASES);
	// A bias alone has no weight to make.
	if (Object.keys(bare.factors).length === 0) return { weight: undefined, bias: side };
	if (weightKind(module) === 'product') {
		const { up, down, shape } = await readProduct(part, strength);
		return { weight: { shape, data: kernel().multiply(up.data, down.data, up.rows, up.cols, down.cols) }, bias: side };
	}
	const weight = needsBase(module) ? await baseWeight(part, base) : undefined;
	const delta = await deltaOf(bare, { base: weight, strength });
	if (delta.weight !== undefined) requireFinite(part, delta.weight.data);
	if (delta.bias !== undefined) requireFinite(part, delta.bias.data);
	return { weight: delta.weight, bias: sum(delta.bias?.data, side) };
}

/** What the side factors of a part add to the bias: scaling times `up_bias`, plus `diff_b`. Undefined for none. */
export async function readBias(part: MergePart, strength: number): Promise<Float64Array | undefined> {
	const { up_bias: up, diff_b: diff } = part.module.factors;
	if (part.module.family === 'full' || part.module.family === 'norm') return diff === undefined ? undefined : scaled(part, diff, strength);
	const scaling = up === undefined ? 1 : finiteScaling(part.module) * strength;
	return sum(
		up === undefined ? undefined : await scaled(part, up, scaling),
		diff === undefined ? undefined : await scaled(part, diff, strength),
	);
}

/** Elementwise sum; a missing one is zeros. @throws {FormatError} `E_LORA_SHAPE`. */
export function sum(a: Float64Array | undefined, b: Float64Array | undefined): Float64Array | undefined {
	if (a === undefined || b === undefined) return a ?? b;
	if (a.length !== b.length) throw new FormatError('E_LORA_SHAPE', `Biases of ${a.length} and ${b.length} numbers cannot be added.`);
	return a.map((x, i) => x + (b[i] ?? 0));
}

/** @throws {FormatError} `E_NONFINITE` naming the adapter and the module. */
export function requireFinite({ name, module }: MergePart, values: Float64Array): void {
	for (let i = 0; i < values.length; i++) {
		if (Number.isFinite(values[i])) continue;
		throw new FormatError(
			'E_NONFINITE',
			`${name}: ${module.component} ${module.path} has ${values[i]} in its factors, so no sum with it means anything; find it with "lora validate", or leave the adapter out.`,
			{ at: module.path },
		);
	}
}

async function baseWeight(part: MergePart, base: MergeBase | undefined): Promise<Awaited<ReturnType<MergeBase['weightOf']>>> {
	const { module, name } = part;
	const what = module.factors.magnitude === undefined ? module.family : `DoRA ${module.family}`;
	if (base === undefined) {
		throw new FormatError(
			'E_BASE_MISMATCH',
			`${name}: ${module.component} ${module.path} is ${what}, whose delta depends on the weights of the base; give the base with --base.`,
			{ at: module.path },
		);
	}
	const weight = await base.weightOf(module.component, module.path);
	if (weight !== undefined) return weight;
	throw new FormatError(
		'E_MODULE_NOT_IN_BASE',
		`${module.component} ${module.path} of ${name} is not in ${base.name}; give the base that it was made for.`,
		{
			at: module.path,
		},
	);
}

async function scaled(part: MergePart, tensor: Tensor, by: number): Promise<Float64Array> {
	const values = decodeFloats(tensor.dtype, await tensor.read());
	requireFinite(part, values);
	return values.map((x) => x * by);
}

function without(module: TargetModule, roles: readonly Role[]): TargetModule {
	if (!roles.some((role) => module.factors[role] !== undefined)) return module;
	const factors: Partial<Record<Role, Tensor>> = { ...module.factors };
	for (const role of roles) delete factors[role];
	return { ...module, factors };
}
