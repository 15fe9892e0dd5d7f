import type { Adapter, Role, TargetModule } from '../../adapter.js';
import type { Warning } from '../../errors.js';
import { quote } from '../../errors.js';
import { encodeFloats, type WritableFloat } from '../../half.js';
import type { BaseInventory } from '../../modules/inventory.js';
import { computedTensor, type Tensor } from '../../tensor.js';
import { flattenProduct, isProduct, productOf } from '../product/delta-product.js';
import { productShape, weightShape } from '../product/delta-product-shape.js';
import { scalingAtRank } from './resize-alpha.js';
import { trueNetworkMetadata } from './resize-metadata.js';

export interface ExpandOptions {
	/** Type of the expanded factors. Default F32. */
	readonly dtype?: WritableFloat | undefined;
	/** Says the kernels of convolutions that are stored flattened. */
	readonly base?: BaseInventory | undefined;
}

/** A module that was expanded. */
export interface ExpandedModule {
	readonly component: string;
	readonly path: string;
	readonly family: TargetModule['family'];
	/** Rank of the LoRA that it became. */
	readonly rank: number;
	/**
	 * True when no rounding can happen: every factor is one stored number, or the product of two whose bits fit `dtype`
	 * (always in F64 for factors of at most 24 bits; in F32 for F16 and BF16), within the range of that type.
	 */
	readonly exact: boolean;
}

export interface Expansion {
	readonly adapter: Adapter;
	readonly modules: readonly ExpandedModule[];
	readonly warnings: readonly Warning[];
}

/** Bits of precision that a stored number has. */
const PRECISION: ReadonlyMap<string, number> = new Map([
	['F64', 53],
	['F32', 24],
	['F16', 11],
	['BF16', 8],
	['F8_E4M3', 4],
	['F8_E5M2', 3],
]);

/**
 * LoHa and LoKr (and LoCon with its core) as plain LoRA modules with the same delta: rank r1 r2, the same scaling,
 * factors written in `dtype`. Exact where `exact` says so; else each element of a factor is rounded once. Other
 * families are carried as they are. Lazy: factors are computed when read.
 *
 * @throws {FormatError} when a factor is read: of `productOf`.
 */
export function expandAdapter(adapter: Adapter, options: ExpandOptions = {}): Expansion {
	const expanded: ExpandedModule[] = [];
	const warnings: Warning[] = [];
	const modules = adapter.modules.map((module) => {
		if (module.family !== 'loha' && module.family !== 'lokr' && module.factors.mid === undefined) return module;
		const result = expandModule(module, options);
		if (result === undefined) {
			warnings.push({
				code: 'W_NEEDS_BASE',
				message: `${module.component} ${quote(module.path)} is ${module.family} with ${module.factors.magnitude === undefined ? 'a part beside its product' : 'a DoRA magnitude'}, which no LoRA can say; it is carried as it is.`,
				at: module.path,
			});
			return module;
		}
		expanded.push(result.report);
		return result.module;
	});
	return { adapter: { ...adapter, modules, metadata: trueNetworkMetadata(adapter.metadata, modules) }, modules: expanded, warnings };
}

function expandModule(
	module: TargetModule,
	options: ExpandOptions,
): { readonly module: TargetModule; readonly report: ExpandedModule } | undefined {
	const found = productShape(module);
	if (found === undefined || !isProduct(module)) return undefined;
	const { rank } = found;
	const dtype = options.dtype ?? 'F32';
	const { gain, ...scaling } = scalingAtRank(module, rank);
	const exact = gain === 1 && isExact(module, dtype);
	const shape = weightShape(module, found.shape, options.base);
	const where = `${module.component} ${module.path}`;
	// Both factors come from one computation; it is kept until both were asked for.
	let pending: Promise<{ readonly up: Uint8Array; readonly down: Uint8Array }> | undefined;
	const compute = (): NonNullable<typeof pending> => {
		pending ??= (async () => {
			const delta = await productOf(module);
			if (delta === undefined) throw new TypeError('no product');
			const { up, down } = flattenProduct(where, delta);
			if (gain !== 1) for (let i = 0; i < up.data.length; i++) up.data[i] = (up.data[i] ?? 0) * gain;
			return { up: encodeFloats(dtype, up.data), down: encodeFloats(dtype, down.data) };
		})();
		return pending;
	};
	const take = async (side: 'up' | 'down'): Promise<Uint8Array> => {
		const both = compute();
		const bytes = (await both)[side];
		if (side === 'up') pending = undefined;
		return bytes;
	};
	const from = Object.values(module.factors).filter((t): t is Tensor => t !== undefined);
	const derivation = { from, how: `${module.family} expanded to a LoRA of rank ${rank}`, errorBound: exact ? 0 : undefined };
	const [upShape, downShape] = loraShapes(shape, rank);
	const factors: Partial<Record<Role, Tensor>> = {
		up: computedTensor(dtype, upShape, derivation, () => take('up')),
		down: computedTensor(dtype, downShape, derivation, () => take('down')),
	};
	return {
		module: { ...module, ...scaling, family: 'lora', factors },
		report: { component: module.component, path: module.path, family: module.family, rank, exact },
	};
}

/** Shapes of up and down for a weight: (out, r) and (r, in), or (out, r, 1, 1) and (r, in, kh, kw). */
export function loraShapes(weight: readonly number[], rank: number): readonly [readonly number[], readonly number[]] {
	const [out = 1, ...rest] = weight;
	return [
		[out, rank, ...rest.slice(1).map(() => 1)],
		[rank, ...rest],
	];
}

/** Products of two stored numbers fit; sums (a folded core) do not in general. */
function isExact(module: TargetModule, dtype: WritableFloat): boolean {
	const { factors } = module;
	if (factors.mid !== undefined || factors.hada_t1 !== undefined || factors.hada_t2 !== undefined || factors.lokr_t2 !== undefined)
		return false;
	const bits = Object.values(factors).map((t) => PRECISION.get(t?.dtype ?? '') ?? 64);
	return 2 * Math.max(...bits) <= (PRECISION.get(dtype) ?? 0);
}
