import type { Adapter, TargetModule } from '../../adapter.js';
import type { Warning } from '../../errors.js';
import { FormatError, quote } from '../../errors.js';
import { deltaOf, needsBase } from '../../families/index.js';
import { decodeFloats } from '../../half.js';
import { type DeltaProduct, productOf } from '../product/delta-product.js';
import { finiteScaling } from '../product/low-rank-of.js';
import { singularValuesOf } from '../resize/resize-svd.js';
import type { BaseReader } from './energy-base.js';
import { compareBlocks, type EnergyBlock, energyBlockOf } from './energy-blocks.js';

/**
 * A module's delta in the form that is cheapest to compare: a product of factors, or (full differences, norms, what
 * depends on the base) its elements. `factors`: the base is needed and was not given, so the stored factors stand for it.
 */
export type ModuleDelta =
	| { readonly kind: 'product'; readonly product: DeltaProduct; readonly scaling: number }
	| { readonly kind: 'dense' | 'factors'; readonly values: readonly Float64Array[] };

/** How strong one module is, at strength 1. */
export interface ModuleEnergy {
	readonly component: string;
	readonly path: string;
	readonly block: EnergyBlock;
	readonly family: TargetModule['family'];
	/** As stored; null where the family has none. */
	readonly rank: number | null;
	/** Frobenius norm of the delta with its scaling (weight and bias together). */
	readonly norm: number;
	/** norm^2 / s[0]^2: how many equally strong directions would have this norm. null without singular values. */
	readonly stableRank: number | null;
	/** exp of the entropy of s^2 / sum s^2. null without singular values. */
	readonly effectiveRank: number | null;
	/** Singular values with the scaling, descending; null for deltas that are no product. */
	readonly values: Float64Array | null;
	/** `factors`: the norm is that of the stored factors, because the delta depends on a base that was not given. */
	readonly measure: 'delta' | 'factors';
}

/** The modules of one block together. */
export interface BlockEnergy extends EnergyBlock {
	readonly modules: readonly ModuleEnergy[];
	/** Root of the sum of squares over modules whose measure is `delta`. */
	readonly norm: number;
}

export interface AdapterEnergy {
	/** In the order of the model. */
	readonly blocks: readonly BlockEnergy[];
	/** Root of the sum of squares over all modules whose measure is `delta`. */
	readonly norm: number;
	readonly warnings: readonly Warning[];
}

/**
 * Energy and singular values of every module, block by block, in float64. Products are never multiplied out.
 * @throws {FormatError} `E_NONFINITE`, `E_LORA_ALPHA`, and those of reading and of the families.
 */
export async function adapterEnergy(
	adapter: Adapter,
	options: {
		readonly base?: BaseReader | undefined /** Bytes of factors. */;
		readonly onProgress?: ((done: number, total: number) => void) | undefined;
	} = {},
): Promise<AdapterEnergy> {
	const measured: ModuleEnergy[] = [];
	const total = adapter.modules.reduce((sum, module) => sum + factorBytes(module), 0);
	let done = 0;
	for (const module of adapter.modules) {
		measured.push(energyOf(module, await moduleDelta(module, options.base)));
		done += factorBytes(module);
		options.onProgress?.(done, total);
	}
	return { blocks: groupByBlock(measured), norm: totalNorm(measured), warnings: needsBaseWarnings(measured) };
}

/** Bytes of a module's stored factors: what progress is counted in. */
export function factorBytes(module: TargetModule | undefined): number {
	let sum = 0;
	for (const tensor of Object.values(module?.factors ?? {})) sum += tensor?.nbytes ?? 0;
	return sum;
}

/** Read what a module adds. @throws {FormatError} as `productOf` and `deltaOf`. */
export async function moduleDelta(module: TargetModule, base: BaseReader | undefined): Promise<ModuleDelta> {
	const product = await productOf(module);
	if (product !== undefined) return { kind: 'product', product, scaling: finiteScaling(module) };
	const weight = needsBase(module) ? await base?.(module) : undefined;
	if (!needsBase(module) || weight !== undefined) {
		const delta = await deltaOf(module, { base: weight });
		return { kind: 'dense', values: [delta.weight?.data, delta.bias?.data].filter((v) => v !== undefined) };
	}
	return { kind: 'factors', values: await factorValues(module) };
}

async function factorValues(module: TargetModule): Promise<Float64Array[]> {
	const out: Float64Array[] = [];
	for (const tensor of Object.values(module.factors)) if (tensor !== undefined) out.push(decodeFloats(tensor.dtype, await tensor.read()));
	return out;
}

/** Measure one module. @throws {FormatError} `E_NONFINITE`. */
export function energyOf(module: TargetModule, delta: ModuleDelta): ModuleEnergy {
	const values =
		delta.kind === 'product'
			? singularValuesOf(`${module.component} ${module.path}`, delta.product).map((s) => s * Math.abs(delta.scaling))
			: null;
	const squared =
		delta.kind === 'product' ? sumOfSquares(values ?? new Float64Array()) : delta.values.reduce((sum, v) => sum + sumOfSquares(v), 0);
	if (!Number.isFinite(squared)) {
		throw new FormatError(
			'E_NONFINITE',
			`${module.component} ${quote(module.path)} has values that are NaN or infinite (or too large to square), so it has no energy; find them with "lora validate".`,
			{
				at: module.path,
			},
		);
	}
	const first = values?.[0] ?? 0;
	return {
		component: module.component,
		path: module.path,
		block: energyBlockOf(module.component, module.path),
		family: module.family,
		rank: module.rank ?? null,
		norm: Math.sqrt(squared),
		stableRank: values === null ? null : first > 0 ? squared / first ** 2 : 0,
		effectiveRank: values === null ? null : effectiveRank(values, squared),
		values,
		measure: delta.kind === 'factors' ? 'factors' : 'delta',
	};
}

/** exp(entropy) of the shares of energy; 0 for a delta of zeros. Roy and Vetterli 2007 use s itself; energy is what adds up here. */
function effectiveRank(values: Float64Array, squared: number): number {
	if (!(squared > 0)) return 0;
	let entropy = 0;
	for (const s of values) {
		const p = (s * s) / squared;
		if (p > 0) entropy -= p * Math.log(p);
	}
	return Math.exp(entropy);
}

export function sumOfSquares(values: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < values.length; i++) sum += (values[i] ?? 0) ** 2;
	return sum;
}

/** Blocks in the order of the model, each with its modules in the order given. */
export function groupByBlock(modules: readonly ModuleEnergy[]): BlockEnergy[] {
	const groups = new Map<string, { readonly block: EnergyBlock; readonly modules: ModuleEnergy[] }>();
	for (const module of modules) {
		const key = `${module.component}\u0000${module.block.label}`;
		const group = groups.get(key);
		if (group === undefined) groups.set(key, { block: module.block, modules: [module] });
		else group.modules.push(module);
	}
	return [...groups.values()]
		.sort((a, b) => compareBlocks(a.block, b.block))
		.map(({ block, modules: list }) => ({ ...block, modules: list, norm: totalNorm(list) }));
}

function totalNorm(modules: readonly ModuleEnergy[]): number {
	let sum = 0;
	for (const m of modules) if (m.measure === 'delta') sum += m.norm ** 2;
	return Math.sqrt(sum);
}

export function needsBaseWarnings(modules: readonly ModuleEnergy[]): Warning[] {
	const blind = modules.filter((m) => m.measure === 'factors');
	const [first] = blind;
	if (first === undefined) return [];
	return [
		{
			code: 'W_NEEDS_BASE',
			message: `${blind.length} modules add something that depends on the base (first ${first.component} ${quote(first.path)}, ${first.family}); they are judged by their factors alone and left out of sums. Pass --base.`,
			at: first.path,
		},
	];
}
