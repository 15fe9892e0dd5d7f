import type { TargetModule } from '../../adapter.js';
import type { Warning } from '../../errors.js';

/** One of the two adapters. */
export interface DiffSide {
	readonly name: string;
	readonly layout: string;
	/** What its base seems to be. */
	readonly base: string;
	readonly modules: number;
	readonly embeddings: number;
}

/** What one adapter does to one module. */
export interface DiffModuleSide {
	readonly family: TargetModule['family'];
	/** As stored; null where the family has none. */
	readonly rank: number | null;
	/** Frobenius norm of the delta with its scaling. */
	readonly norm: number;
	/** norm^2 / s[0]^2. */
	readonly stableRank: number | null;
	/** exp of the entropy of s^2 / sum s^2. */
	readonly effectiveRank: number | null;
	/** Singular values with the scaling, descending; null for deltas that are no product. */
	readonly values: readonly number[] | null;
}

export interface DiffModule {
	readonly component: string;
	readonly path: string;
	/** As in `blocks`. */
	readonly block: string;
	readonly a: DiffModuleSide | null;
	readonly b: DiffModuleSide | null;
	/** <a, b>; null for a module of one side, or where it cannot be known without the base. */
	readonly inner: number | null;
	/** inner / (norm norm); null also when one of them is 0. */
	readonly cosine: number | null;
	/** |a - b|. */
	readonly distance: number | null;
	/** |a - b| / max(|a|, |b|). */
	readonly difference: number | null;
	/** `factors`: compared by stored factors, because the deltas depend on a base that was not given. */
	readonly measure: 'delta' | 'factors';
}

/** Sums over modules: norms and cosine are those of all deltas laid end to end (measure `delta` only). */
export interface DiffSummary {
	readonly modules: number;
	readonly both: number;
	readonly onlyA: number;
	readonly onlyB: number;
	readonly normA: number;
	readonly normB: number;
	readonly cosine: number | null;
	/** |a - b| / max(|a|, |b|). */
	readonly difference: number;
}

export interface DiffBlock extends DiffSummary {
	readonly component: string;
	/** `down 1.0`, `mid`, `layers 11`. */
	readonly block: string;
}

export interface DiffEmbedding {
	readonly component: string;
	readonly token: string;
	readonly in: 'a' | 'b' | 'both';
	/** |a - b| / max(|a|, |b|); null for one side alone, or other shapes. */
	readonly difference: number | null;
}

/** What `diffAdapters` tells. Schema: schema/diff.schema.json. */
export interface DiffReport {
	readonly schema: 'lora.diff/1';
	readonly a: DiffSide;
	readonly b: DiffSide;
	/** True when every module and embedding agrees within `tolerance`. */
	readonly same: boolean;
	/** One line for people. */
	readonly verdict: string;
	/** The module with the largest relative difference among those of both. */
	readonly largest: { readonly component: string; readonly path: string; readonly difference: number } | null;
	readonly tolerance: number;
	readonly total: DiffSummary;
	/** In the order of the model. */
	readonly blocks: readonly DiffBlock[];
	/** In the order of the model. */
	readonly modules: readonly DiffModule[];
	readonly embeddings: readonly DiffEmbedding[];
	readonly warnings: readonly Warning[];
}
