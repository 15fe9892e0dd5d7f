import type { Adapter, Family } from '../../adapter.js';
import type { Warning } from '../../errors.js';
import type { BaseWeight } from '../../families/delta.js';
import type { WritableFloat } from '../../half.js';
import type { BaseInventory } from '../../modules/inventory.js';
import type { DareMask } from './dare.js';
import type { MajoritySign } from './ties.js';

/**
 * How several deltas become one. `concat` and `svd` are the sum itself, whole or truncated; `linear` is PEFT's mixing of the factors (with the
 * cross terms it has); the others are what PEFT and mergekit call them.
 */
export const MERGE_METHODS = ['concat', 'svd', 'linear', 'ties', 'dare-linear', 'dare-ties', 'magnitude-prune', 'slerp'] as const;
export type MergeMethod = (typeof MERGE_METHODS)[number];

/** Weights of the base model, for families that mean nothing without them. */
export interface MergeBase {
	readonly name: string;
	readonly inventory: BaseInventory | undefined;
	/** The weight (and bias) of a module, in doubles; undefined when the base has no such module. */
	weightOf(component: string, path: string): Promise<BaseWeight | undefined>;
}

/** What asks for a DARE mask: one adapter's delta of one module. */
export interface MaskRequest {
	readonly component: string;
	readonly path: string;
	/** Position of the adapter in `uses`. */
	readonly input: number;
	/** `delta`, or the factor under `on: 'factors'`; `bias` for the bias's difference. */
	readonly what: 'delta' | 'down' | 'up' | 'bias';
	/** Elements that the mask must have. */
	readonly count: number;
}

export interface MergeOptions {
	/** Default `concat`; `svd` where a rank is given. */
	readonly method?: MergeMethod | undefined;
	/** Largest rank of a module. `svd`: needed by nothing (default: the largest rank among the inputs); the methods on deltas: the same default. `full`: whole differences. */
	readonly rank?: number | 'full' | undefined;
	/** Share of the elements that TIES, DARE and pruning keep; default 0.5. */
	readonly density?: number | undefined;
	/** Default `total`. */
	readonly majoritySign?: MajoritySign | undefined;
	/** What the methods work on: the deltas (PEFT's `_svd` variants), or the two factors each for itself (PEFT's plain ones). Default `delta`. */
	readonly on?: 'delta' | 'factors' | undefined;
	/** For DARE; default 0. */
	readonly seed?: number | undefined;
	/** Overrules the generated DARE masks, for exact tests. */
	readonly mask?: ((request: MaskRequest) => DareMask | undefined) | undefined;
	/** For `slerp`, 0 (the first adapter) to 1 (the second); default 0.5. */
	readonly t?: number | undefined;
	/** Stored type. Default: the widest of the inputs, F32 where half precision could not hold the result exactly. */
	readonly dtype?: WritableFloat | undefined;
	/** Where several scalings are equal, leave them to alpha (`auto`) or multiply them in whatever the target (`fold`). Default `auto`. */
	readonly scaling?: 'auto' | 'fold' | undefined;
	/** Families other than LoRA that only one adapter has in a module: as they are, or expanded to LoRA where that is exact. Default `as-is`. */
	readonly carry?: 'as-is' | 'lora' | undefined;
	readonly base?: MergeBase | undefined;
	/** A token that two adapters have with different vectors: refuse, the first's, the last's, or a new name for the later one. */
	readonly embeddings?: 'refuse' | 'first' | 'last' | 'rename' | undefined;
	/** Leave tensors out that no layout knows, with a warning, instead of refusing them. */
	readonly allowUnknown?: boolean | undefined;
	/** Told after each module. */
	readonly onProgress?: ((modulesDone: number, modules: number) => void) | undefined;
}

/** One module of the result, and how true it is. */
export interface MergedModule {
	readonly component: string;
	readonly path: string;
	readonly family: Family;
	/** Names of the adapters that are in it. */
	readonly inputs: readonly string[];
	/** `carried`: one adapter's own factors; `concat`: factors side by side; `svd`: truncated; `dense`: a whole difference; `factors`: PEFT's plain mixing. */
	readonly how: 'carried' | 'concat' | 'svd' | 'dense' | 'factors';
	readonly rank: number | null;
	/** Ranks of the inputs added up; null where they are not all products. */
	readonly sumOfRanks: number | null;
	/**
	 * |stored - exact| / |exact| in the Frobenius norm, all rounding and truncation in it (`carried`: of the worst factor); `exact` is the float64 result of the method (for
	 * `concat`, `svd` and `linear`: the sum). 0 where nothing was rounded; null where the exact result is 0 and the stored one is not.
	 */
	readonly error: number | null;
	/** The part of `error` that is truncation of the rank. */
	readonly truncation: number;
}

/** A merge, done; the tensors of large modules are computed again when they are read. */
export interface MergeResult {
	readonly adapter: Adapter;
	readonly method: MergeMethod;
	readonly dtype: WritableFloat;
	readonly modules: readonly MergedModule[];
	/** The largest `error`. */
	readonly largestError: number;
	/** Modules of the inputs that are in nothing because their strength is 0. */
	readonly switchedOff: number;
	/** What a person may want to know and nobody needs to act on. */
	readonly notes: readonly string[];
	readonly warnings: readonly Warning[];
}
