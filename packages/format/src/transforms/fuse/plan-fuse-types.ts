import type { Embedding, Family } from '../../adapter.js';
import type { BaseModel, BaseTensorFile } from '../../bases/base-model.js';
import type { Warning } from '../../errors.js';
import type { DoraStrength } from '../../families/index.js';
import type { TouchedTensor } from './touched-tensor.js';

export interface FuseOptions {
	/** How a strength other than 1 acts on DoRA; default `interpolate`. */
	readonly doraStrength?: DoraStrength | undefined;
	/** Leave out (with `W_UNKNOWN_KEY`) tensors of an adapter that belong to no module, instead of refusing them. */
	readonly allowUnknown?: boolean | undefined;
	/** Skip the pass over every factor that refuses NaN and Inf. The pass reads the adapters once. */
	readonly trustValues?: boolean | undefined;
}

/** What one adapter does to one module: the receipt of a fuse. */
export interface FuseLedgerEntry {
	/** Place in the list of adapters. */
	readonly use: number;
	/** `AdapterUse.name`. */
	readonly adapter: string;
	readonly component: string;
	readonly path: string;
	readonly family: Family;
	/** True when it also has a DoRA magnitude. */
	readonly dora: boolean;
	readonly rank: number | undefined;
	/** The module's own scaling (alpha rule). */
	readonly scaling: number;
	/** What the user's strength came to; 0: the module touches nothing. */
	readonly strength: number;
	/** Stored tensors that it changes, `FILE:NAME`. Empty at strength 0. */
	readonly tensors: readonly string[];
}

/** Embeddings of one adapter: they cannot be fused, and are written beside OUT. */
export interface FuseEmbeddings {
	/** `AdapterUse.name`. */
	readonly adapter: string;
	readonly embeddings: readonly Embedding[];
}

/** A fuse, decided and checked; no data but the adapters' factors has been read, nothing is written. */
export interface FusePlan {
	readonly base: BaseModel;
	/** In the order of the base's files and of the tensors in them. */
	readonly touched: readonly TouchedTensor[];
	/** The same by file and tensor name. Files that nothing changes are not in it. */
	readonly byFile: ReadonlyMap<BaseTensorFile, ReadonlyMap<string, TouchedTensor>>;
	/** Modules that are changed by at least one adapter. */
	readonly modules: number;
	/** Elements of all touched tensors. */
	readonly elements: number;
	readonly ledger: readonly FuseLedgerEntry[];
	/** Only adapters that have embeddings. */
	readonly embeddings: readonly FuseEmbeddings[];
	readonly warnings: readonly Warning[];
}
