import type { Adapter, Role, TargetModule } from '../../adapter.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import type { Tensor } from '../../tensor.js';
import { castFloat } from '../cast-adapter.js';
import { factorBytes } from '../diff/energy.js';
import { productShape } from '../product/delta-product-shape.js';
import { checkRank, checkRankRule, type RankRule, ranksForSize, type SizedModule } from './choose-rank.js';
import { bytesPerRank, type Candidate, findCandidates, jobOf, keepsAll, withFactors } from './resize-candidate.js';
import { type ResizeJob, type ResizeOutcome, runResizeJob } from './resize-job.js';
import { trueNetworkMetadata } from './resize-metadata.js';
import type { Resize, ResizedModule, ResizeOptions } from './resize-types.js';

/**
 * Lower the ranks of an adapter: each product is replaced by its nearest product of lower rank (truncated singular
 * value decomposition by QR of the thin factors; the full delta is never made), stored as balanced factors
 * U sqrt(S) and sqrt(S) V^T with the scaling the module had. LoHa, LoKr and LoCon become LoRA.
 *
 * Carried as they are, and named: modules that are no product of factors, and those whose rank is low enough already.
 * The new factors are held in memory, in the type they are written in.
 *
 * @throws {FormatError} `E_RANK` (no such rank, or no file of that size is possible), `E_NONFINITE` (a module has NaN or
 *   infinite values), `E_LORA_ALPHA`, `E_EMPTY_ADAPTER` (nothing is a product), and those of reading the factors.
 */
export async function resizeAdapter(adapter: Adapter, options: ResizeOptions): Promise<Resize> {
	checkOptions(options);
	const candidates = findCandidates(adapter, options);
	if (candidates.length === 0 && !adapter.modules.some((m) => productShape(m) !== undefined)) {
		const dora = adapter.modules.some((m) => m.factors.magnitude !== undefined);
		throw new FormatError(
			'E_EMPTY_ADAPTER',
			`None of the ${adapter.modules.length} modules of ${quote(adapter.source.name)} is a product of low-rank factors alone${dora ? ' (it is DoRA, whose magnitude is divided by a norm of base and product together)' : ''}, so there is no rank to change.`,
		);
	}
	const progress = progressOver(candidates, options);
	const rules =
		options.rule.kind === 'size'
			? await rulesForSize(adapter, candidates, options.rule.bytes, options, progress)
			: candidates.map((c) => c.rule);
	const modules = adapter.modules.map((m) => castModule(m, options.dtype));
	const reports = adapter.modules.map((m) => carriedReport(m, options));
	let underflow = 0;
	const work = candidates
		.map((candidate, n) => ({ candidate, rule: rules[n] ?? candidate.rule }))
		.filter(({ candidate, rule }) => !(options.rule.kind === 'size' && rule.kind === 'rank' && keepsAll(candidate, rule.rank)));
	await eachJob(
		work.map(
			({ candidate, rule }) =>
				() =>
					jobOf(candidate, rule),
		),
		options,
		({ stored }, n) => {
			const candidate = work[n]?.candidate;
			if (candidate === undefined || stored === undefined) return;
			progress(candidate);
			const { module, product, at } = candidate;
			const size = stored.norm * Math.abs(module.scaling);
			const carried = reports[at];
			// Nothing was cut: its own bits are the best that can be stored.
			if (keepsAll(candidate, stored.rank) && carried !== undefined) {
				reports[at] = { ...carried, norm: size };
				return;
			}
			underflow += stored.underflow;
			modules[at] = withFactors(candidate, stored.rank, stored.up, stored.down);
			reports[at] = {
				component: module.component,
				path: module.path,
				family: module.family,
				how: 'resized',
				why: null,
				oldRank: product.rank,
				newRank: stored.rank,
				energyKept: stored.energyKept,
				error: stored.error,
				norm: size,
			};
		},
	);
	return {
		adapter: rebuilt(adapter, modules, options),
		modules: reports,
		warnings: warningsOf(reports, underflow),
	};
}

/** The adapter with other modules: header entries made true, embeddings in the type asked for. */
function rebuilt(adapter: Adapter, modules: readonly TargetModule[], { dtype }: ResizeOptions): Adapter {
	const embeddings =
		dtype === undefined ? adapter.embeddings : adapter.embeddings.map((e) => ({ ...e, vectors: castFloat(e.vectors, dtype) }));
	return { ...adapter, modules, embeddings, metadata: trueNetworkMetadata(adapter.metadata, modules) };
}

function checkOptions({ rule, maxRank, convRank, bytesOf }: ResizeOptions): void {
	if (rule.kind !== 'size') checkRankRule(rule);
	else if (bytesOf === undefined) throw new TypeError('a size needs bytesOf');
	if (maxRank !== undefined) checkRank(maxRank);
	if (convRank !== undefined) checkRank(convRank);
}

/** Ranks by energy per byte so that the file has at most `size` bytes, header included. */
async function rulesForSize(
	adapter: Adapter,
	candidates: readonly Candidate[],
	size: number,
	options: ResizeOptions,
	progress: (candidate: Candidate) => void,
): Promise<readonly RankRule[]> {
	const bytesOf = options.bytesOf ?? ((): number => 0);
	const sized: SizedModule[] = [];
	await eachJob(
		candidates.map((candidate) => () => jobOf(candidate, { kind: 'values' })),
		options,
		({ values }, n) => {
			const candidate = candidates[n];
			if (candidate === undefined || values === undefined) return;
			const { scaling } = candidate.module;
			sized[n] = { values: values.map((s) => s * Math.abs(scaling)), bytesPerRank: bytesPerRank(candidate), cap: candidate.cap };
			progress(candidate);
		},
	);
	const fileBytes = (ranks: readonly number[]): number => {
		const modules = adapter.modules.map((m) => castModule(m, options.dtype));
		candidates.forEach((candidate, n) => {
			modules[candidate.at] = withFactors(candidate, ranks[n] ?? 1);
		});
		return bytesOf(rebuilt(adapter, modules, options));
	};
	const least = fileBytes(candidates.map(() => 1));
	if (least > size) {
		throw new FormatError(
			'E_RANK',
			`No ranks make a file of ${size} bytes: with rank 1 everywhere it has ${least}; give a larger --size, --dtype f16, or leave parts out.`,
		);
	}
	// Bytes of factors that fit: the header grows with the numbers in it, so the true size is asked for, by halving.
	let ranks: readonly number[] = candidates.map(() => 1);
	let fits = sized.reduce((sum, m) => sum + m.bytesPerRank, 0);
	let tooMany = fits + (size - least) + 1;
	while (tooMany - fits > 1) {
		// The first try leaves nothing for the header to grow: most often it is right or off by a few bytes.
		const budget = tooMany - fits > 4096 ? tooMany - Math.min(1024, Math.floor((tooMany - fits) / 2)) : Math.floor((fits + tooMany) / 2);
		const chosen = ranksForSize(sized, budget) ?? ranks;
		if (fileBytes(chosen) <= size) {
			ranks = chosen;
			fits = budget;
		} else tooMany = budget;
	}
	return ranks.map((rank) => ({ kind: 'rank', rank }));
}

/** Run jobs with a few under way; what is done is told in any order. The first failure stops the rest. */
async function eachJob(
	makers: readonly (() => Promise<ResizeJob>)[],
	options: ResizeOptions,
	done: (outcome: ResizeOutcome, n: number) => void,
): Promise<void> {
	const run = options.run ?? runResizeJob;
	let next = 0;
	const worker = async (): Promise<void> => {
		for (let n = next++; n < makers.length; n = next++) {
			const make = makers[n];
			if (make === undefined) return;
			try {
				done(await run(await make()), n);
			} catch (error) {
				next = makers.length;
				throw error;
			}
		}
	};
	await Promise.all(Array.from({ length: Math.max(1, options.jobs ?? 1) }, worker));
}

function progressOver(candidates: readonly Candidate[], options: ResizeOptions): (candidate: Candidate) => void {
	const passes = options.rule.kind === 'size' ? 2 : 1;
	const total = passes * candidates.reduce((sum, c) => sum + factorBytes(c.module), 0);
	let done = 0;
	return (candidate) => {
		done += factorBytes(candidate.module);
		options.onProgress?.(done, total);
	};
}

function castModule(module: TargetModule, dtype: ResizeOptions['dtype']): TargetModule {
	if (dtype === undefined) return module;
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, tensor] of Object.entries(module.factors) as [Role, Tensor][]) factors[role] = castFloat(tensor, dtype);
	return { ...module, factors };
}

function carriedReport(module: TargetModule, { dtype }: ResizeOptions): ResizedModule {
	const product = productShape(module);
	const cast = dtype !== undefined && Object.values(module.factors).some((t) => t !== undefined && t.dtype !== dtype);
	const dora = module.factors.magnitude !== undefined;
	return {
		component: module.component,
		path: module.path,
		family: module.family,
		how: 'carried',
		why:
			product === undefined
				? dora
					? 'DoRA: its delta depends on the base'
					: `${module.family} is no product of its factors alone`
				: 'its rank is low enough',
		oldRank: product?.rank ?? null,
		newRank: product?.rank ?? null,
		energyKept: 1,
		error: cast ? null : 0,
		norm: null,
	};
}

function warningsOf(reports: readonly ResizedModule[], underflow: number): Warning[] {
	const out: Warning[] = [];
	const kept = reports.filter((r) => r.oldRank === null);
	const [first] = kept;
	if (first !== undefined) {
		out.push({
			code: 'W_RANK',
			message: `${kept.length} of ${reports.length} modules have no rank to lower and are carried as they are, first ${first.component} ${quote(first.path)} (${first.why}).`,
			at: first.path,
		});
	}
	if (underflow > 0) {
		out.push({
			code: 'W_UNDERFLOW',
			message: `${underflow} values that were not 0 became 0 in the stored type; use --dtype bf16 or f32. The stated errors include this.`,
		});
	}
	return out;
}
