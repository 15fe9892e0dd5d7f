import type { BaseModel } from '../../bases/base-model.js';
import type { Warning } from '../../errors.js';
import type { FuseEmbeddings, FuseLedgerEntry, FuseOptions } from '../fuse/plan-fuse-types.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import type { TermMemo } from './term-memo.js';

/** Which columns of `up` (rows of `down`) are whose, in order. */
export interface LowRankPart {
	/** Place in the list of adapters. */
	readonly use: number;
	readonly rank: number;
	/** What the user's strength came to; it is in `up` already (for DoRA by columns in `down`). */
	readonly strength: number;
}

/** A sum of products of thin matrices, all adapters one beside the other: up * down. Doubles, row by row. Not to be changed in place. */
export interface LowRankTerms {
	/** Sum of the ranks of all parts. */
	readonly rank: number;
	/** (out, rank); scaling and strength are in it. */
	readonly up: Float64Array;
	/** (rank, in), convolutions (rank, in * kh * kw) in the order of the base's weight (in, kh, kw). */
	readonly down: Float64Array;
	readonly parts: readonly LowRankPart[];
}

/**
 * What all adapters together make of one module of the base, in the cheapest form that is exact:
 *
 * `W' = diag(rowScale) W + up * down`, or `W diag(columnScale) + up * down`, or `dense()`; `b' = b + bias`.
 *
 * A factor that is undefined is not there (scale 1, rank 0, bias 0). With `dense` all other parts of the weight are
 * undefined; `rowScale` and `columnScale` never come together. The scales are those of the base's weight alone, not of the
 * low rank and not of the base's bias: so terms of several adapters add up exactly. For a layer over x that is
 * `rowScale * (W x) + up (down x) + b + bias` and `W (columnScale * x) + up (down x) + b + bias`.
 */
export interface ModuleTerms {
	/** Component and path as diffusers calls the module (what has no name there keeps its own). */
	readonly component: string;
	readonly path: string;
	/** Which tensor of the module the terms of the weight are for; `modulation`: the bare table of a Wan block. */
	readonly leaf: 'weight' | 'modulation';
	/** Of the base's weight: (out, in), (out, in, kh, kw), (n) for a norm, (tokens, width) for an embedding; [] when only the bias changes and the base has no weight. */
	readonly shape: readonly number[];
	/** Places in the list of adapters of those that change it. */
	readonly uses: readonly number[];
	readonly lowRank: LowRankTerms | undefined;
	/** (out): DoRA by rows, IA3 on outputs. */
	readonly rowScale: Float64Array | undefined;
	/** (in): DoRA by columns, IA3 on inputs. For convolutions by input channel. */
	readonly columnScale: Float64Array | undefined;
	/** (out), added to the base's bias. */
	readonly bias: Float64Array | undefined;
	/**
	 * The weight itself as it must be, in `shape`, read from the base and computed anew at every call: to the last bit the number
	 * that fuse rounds. For what is no scale and no low rank: OFT, BOFT, GLoRA, full differences, norms, whole weights, a sparse
	 * rest, LoHa and LoKr of a high rank, scales along both axes.
	 * @throws {FormatError} `E_NONFINITE` for a delta that is no number, `E_LIMIT`, and what reading the base throws
	 */
	readonly dense: (() => Promise<Float64Array>) | undefined;
}

export interface TermOptions extends FuseOptions {
	/** LoHa and LoKr become dense from this share of the full rank min(out, in * kernel). Default 0.5. */
	readonly denseFrom?: number | undefined;
	/** A plan over the same base: what it has read of the same adapters is not read again (another strength, one adapter more or less). */
	readonly previous?: TermPlan | undefined;
}

/** Adapters over an unmodified base, decided and checked. The base is never changed: without the terms it is what it was. */
export interface TermPlan {
	readonly base: BaseModel;
	readonly uses: readonly AdapterUse[];
	readonly options: Omit<TermOptions, 'previous'>;
	/** Only modules that change, in the order in which the adapters name them first. Empty without adapters. */
	readonly modules: readonly ModuleTerms[];
	/** As `FusePlan` has it. */
	readonly ledger: readonly FuseLedgerEntry[];
	/** Token vectors that the adapters carry; the text encoder gets them as new rows. Only adapters that have some. */
	readonly embeddings: readonly FuseEmbeddings[];
	readonly warnings: readonly Warning[];
	/** What was read, at strength 1: for `previous` and `scaleTerms`. */
	readonly memo: TermMemo;
}
