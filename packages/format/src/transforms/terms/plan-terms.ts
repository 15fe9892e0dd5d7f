import type { Adapter } from '../../adapter.js';
import type { BaseModel } from '../../bases/base-model.js';
import { moduleKey } from '../../bases/find-modules.js';
import { FormatError } from '../../errors.js';
import { type MatchedModule, matchAdapters } from '../fuse/match-adapters.js';
import { checkFactors } from '../fuse/plan-fuse-values.js';
import { renameNaming } from '../naming/rename-naming.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import { moduleTerms, type TermGroup } from './module-terms.js';
import { moduleMemo, type TermMemo, termMemo } from './term-memo.js';
import type { ModuleTerms, TermOptions, TermPlan } from './terms-types.js';

/** Share of the full rank from which a LoHa or a LoKr costs more than the weight itself. */
const DENSE_FROM = 0.5;

/**
 * How a runtime applies adapters over a base that it does not change: for each module a low rank, a scale of rows or
 * columns, an addition to the bias, or the weight as it must be. Base + terms is base + delta of `planFuse`: the same
 * modules by the same matching, the same strengths, the same refusals.
 *
 * Reads the adapters' factors, of the base only what DoRA's norms and deltas of a bias need (IA3's, whole values);
 * dense terms read it when they are asked for. Without adapters, or at strength 0, there are no terms.
 *
 * Adapters in other names than diffusers' (Flux, SD3, Wan) are renamed first, which cuts what is fused there.
 *
 * @throws {FormatError} as `planFuse`, but for `E_EMPTY_ADAPTER`; `E_UNSUPPORTED_ADAPTER` also for a family over a fused
 *   weight of another naming that cannot be cut; `E_NONFINITE` also for scales that are no numbers (a DoRA over a zero row).
 */
export async function planTerms(base: BaseModel, uses: readonly AdapterUse[], options: TermOptions = {}): Promise<TermPlan> {
	const { previous, ...kept } = options;
	const memo = termMemo(uses, previous?.base === base ? previous.memo : undefined);
	const named = uses.map((use) => ({ ...use, adapter: inDiffusersNames(use.adapter, memo) }));
	const { jobs, ledger, embeddings, warnings } = matchAdapters(base, named, kept);
	if (kept.trustValues !== true) for (const matched of jobs) await check(matched, memo);
	const modules: ModuleTerms[] = [];
	for (const group of groups(jobs)) modules.push(await moduleTerms(base, group, memo, kept.denseFrom ?? DENSE_FROM));
	return { base, uses, options: kept, modules, ledger, embeddings, warnings, memo };
}

async function check({ job }: MatchedModule, memo: TermMemo): Promise<void> {
	const known = moduleMemo(memo, job.module);
	if (known.checked) return;
	await checkFactors(job);
	known.checked = true;
}

function inDiffusersNames(adapter: Adapter, memo: TermMemo): Adapter {
	let renamed = memo.renamed.get(adapter);
	if (renamed === undefined) {
		renamed = rename(adapter);
		memo.renamed.set(adapter, renamed);
	}
	return renamed;
}

function rename(adapter: Adapter): Adapter {
	try {
		return renameNaming(adapter, 'diffusers');
	} catch (error) {
		// A model that diffusers has no other names for: the adapter's are the base's.
		if (error instanceof FormatError && error.code === 'E_MODULE_UNRESOLVED') return adapter;
		throw error;
	}
}

/** By the name that the base has for a module: an adapter may have flattened it. */
function groups(jobs: readonly MatchedModule[]): Iterable<TermGroup> {
	const out = new Map<string, TermGroup & { readonly matched: MatchedModule[] }>();
	for (const matched of jobs) {
		const { component, path } = matched.job.stored;
		const leaf = matched.leaves.includes('modulation') ? 'modulation' : 'weight';
		const key = `${moduleKey({ component, path })}\u0000${leaf}`;
		const known = out.get(key);
		if (known === undefined) out.set(key, { component, path, leaf, matched: [matched] });
		else known.matched.push(matched);
	}
	return out.values();
}
