import type { Adapter, TargetModule } from '../../adapter.js';
import type { Warning } from '../../errors.js';
import type { BaseInventory } from '../../modules/inventory.js';
import type { RankRule } from './choose-rank.js';
import type { ResizeRunner } from './resize-job.js';

export interface ResizeOptions {
	/** How ranks are chosen; `size` chooses over all modules at once. */
	readonly rule: RankRule | { readonly kind: 'size'; readonly bytes: number };
	/** At most this rank, beside what the rule says. */
	readonly maxRank?: number | undefined;
	/** For k x k convolutions, instead of the rule's rank and of `maxRank`. */
	readonly convRank?: number | undefined;
	/** Type of all factors. Default: what each module has (F32 where that cannot be rounded to). */
	readonly dtype?: 'F16' | 'BF16' | 'F32' | undefined;
	/** Says the kernels of convolutions that are stored flattened. */
	readonly base?: BaseInventory | undefined;
	/** Bytes of the file that an adapter would be written as; needed for `size`. Only shapes and types count, nothing is read. */
	readonly bytesOf?: ((adapter: Adapter) => number) | undefined;
	/** Where the arithmetic is done. Default: here. */
	readonly run?: ResizeRunner | undefined;
	/** How many jobs may be under way at once. Default 1. */
	readonly jobs?: number | undefined;
	/** Bytes of factors; twice for `size`. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** What became of one module. */
export interface ResizedModule {
	readonly component: string;
	readonly path: string;
	readonly family: TargetModule['family'];
	/** `resized`: new factors. `carried`: its own factors, as they were (only `dtype` may change them). */
	readonly how: 'resized' | 'carried';
	/** Why it was carried; null when it was resized. */
	readonly why: string | null;
	/** Rank of its product; null for what is no product. */
	readonly oldRank: number | null;
	readonly newRank: number | null;
	/** Share of the energy (squared Frobenius norm) that the kept singular values have; 1 when carried. */
	readonly energyKept: number;
	/** |stored - input| / |input|, Frobenius, stored as rounded, in float64. 0 when carried bit for bit; null where a cast was not measured. */
	readonly error: number | null;
	/** |input| with its scaling; null when it was carried without being read. */
	readonly norm: number | null;
}

export interface Resize {
	readonly adapter: Adapter;
	readonly modules: readonly ResizedModule[];
	readonly warnings: readonly Warning[];
}
