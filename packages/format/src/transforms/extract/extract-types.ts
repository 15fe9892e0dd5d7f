import type { Adapter } from '../../adapter.js';
import type { Warning } from '../../errors.js';
import type { WritableFloat } from '../../half.js';
import type { RankRule } from '../resize/choose-rank.js';

export interface ExtractOptions {
	readonly rule: RankRule;
	/** At most this rank, beside an `sv-*` rule. */
	readonly maxRank?: number | undefined;
	/** Rank of k x k convolutions instead. */
	readonly convRank?: number | undefined;
	/** Which linear and convolution modules: those of attention, all, or those whose `component path` the test takes. Default `all`. */
	readonly only?: 'attention' | 'all' | ((name: string) => boolean) | undefined;
	/** Type of the factors. Default: that of the tuned weights, F32 where it cannot be written. */
	readonly dtype?: 'F16' | 'BF16' | 'F32' | undefined;
	/** Carry what is no matrix (norms, biases, embeddings) as full differences. */
	readonly fullRest?: boolean | undefined;
	/** Bytes of weights of both models. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** One module that was extracted. */
export interface ExtractedModule {
	readonly component: string;
	readonly path: string;
	readonly how: 'low-rank' | 'full';
	/** null for full differences. */
	readonly rank: number | null;
	/** Frobenius norm of the difference. */
	readonly norm: number;
	/** |stored - difference| / |difference|, as rounded, in float64. */
	readonly error: number;
}

export interface Extraction {
	readonly adapter: Adapter;
	readonly modules: readonly ExtractedModule[];
	/** `COMPONENT PATH.weight` (or the name of a tensor that is no module's) of what differs and is not in the adapter. */
	readonly notCarried: readonly string[];
	/** Modules compared and found equal. */
	readonly unchanged: number;
	readonly warnings: readonly Warning[];
}

/** What `extract-module.ts` is told about one weight. */
export interface ExtractInput {
	readonly component: string;
	readonly path: string;
	/** (out, in) or (out, in, kh, kw). */
	readonly shape: readonly number[];
	readonly difference: Float64Array;
	readonly dtype: WritableFloat;
}
