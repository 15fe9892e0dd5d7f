import type { Role, TargetModule } from '../../adapter.js';
import type { DType } from '../../dtype.js';
import { FormatError } from '../../errors.js';
import type { WritableFloat } from '../../half.js';
import { bytesTensor, type Tensor } from '../../tensor.js';
import { productOf } from '../product/delta-product.js';
import { chooseRank, type RankBounds, type RankRule } from './choose-rank.js';
import { type StoredFactors, storeFactors } from './resize-factors.js';
import { decompose, singularValuesOf } from './resize-svd.js';

/** One module's work as plain data, so that it can be sent to a worker thread. */
export interface ResizeJob {
	readonly where: string;
	readonly family: TargetModule['family'];
	/** The stored factors; they may be the source's own memory, so nobody may change or transfer them. */
	readonly factors: readonly (readonly [role: Role, dtype: DType, shape: readonly number[], bytes: Uint8Array])[];
	readonly dtype: WritableFloat;
	/** `values`: only the singular values are wanted. */
	readonly rule: RankRule | { readonly kind: 'values' };
	readonly bounds: RankBounds;
	/** Gain of `storeFactors` by rank; a rank that is not named has 1. */
	readonly gains: ReadonlyMap<number, number>;
}

/** What a job gives: factors, or with rule `values` the singular values alone. */
export type ResizeOutcome =
	| { readonly values: Float64Array; readonly stored: undefined }
	| { readonly values: undefined; readonly stored: StoredFactors };

/** Runs jobs: here, or in worker threads. */
export type ResizeRunner = (job: ResizeJob) => Promise<ResizeOutcome>;

/**
 * Do one job in this thread.
 * @throws {FormatError} of `productOf` and `storeFactors`.
 */
export async function runResizeJob(job: ResizeJob): Promise<ResizeOutcome> {
	const delta = await productOf(moduleOf(job));
	if (delta === undefined) throw new FormatError('E_UNSUPPORTED_ADAPTER', `${job.where} is ${job.family}, which is no product of factors.`);
	const { rule } = job;
	if (rule.kind === 'values') return { values: singularValuesOf(job.where, delta), stored: undefined };
	const rank =
		rule.kind === 'rank'
			? Math.max(1, Math.min(rule.rank, job.bounds.cap))
			: (values: Float64Array): number => chooseRank(values, rule, job.bounds);
	const parts = decompose(job.where, delta, rank);
	const stored = storeFactors(job.where, delta, parts, job.dtype, job.gains.get(parts.svd.s.length) ?? 1);
	return { values: undefined, stored };
}

function moduleOf(job: ResizeJob): TargetModule {
	const cut = job.where.indexOf(' ');
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, dtype, shape, bytes] of job.factors) factors[role] = bytesTensor(dtype, shape, bytes);
	return {
		component: job.where.slice(0, cut),
		path: job.where.slice(cut + 1),
		resolved: true,
		family: job.family,
		factors,
		rank: undefined,
		alpha: null,
		alphaSource: 'none',
		alphaTensor: undefined,
		scaleTensor: undefined,
		rule: 'one',
		scaling: 1,
		magnitudeAxis: undefined,
	};
}
