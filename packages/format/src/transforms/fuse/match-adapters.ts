import type { TargetModule } from '../../adapter.js';
import type { BaseModel } from '../../bases/base-model.js';
import { findModules, moduleKey } from '../../bases/find-modules.js';
import type { TensorLeaf } from '../../bases/place-base-tensor.js';
import { segmentName } from '../../bases/stored-part.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import { type AdapterUse, strengthOf } from '../strength/adapter-use.js';
import { jobFor, type Misfit, refuseMissing, refuseUnknown } from './plan-fuse-match.js';
import { peftSettings } from './plan-fuse-settings.js';
import type { FuseJob } from './plan-fuse-touched.js';
import type { FuseEmbeddings, FuseLedgerEntry, FuseOptions } from './plan-fuse-types.js';

/** Families whose delta is a multiple of the scaling, so that alpha 0 means nothing. DoRA still normalises. */
const SCALED: ReadonlySet<TargetModule['family']> = new Set<TargetModule['family']>([
	'lora',
	'locon',
	'loha',
	'lokr',
	'glora',
	'embedding',
]);

/** One module of one adapter, where it is in the base, and what of it there changes. */
export interface MatchedModule {
	/** Place in the list of adapters. */
	readonly use: number;
	readonly job: FuseJob;
	readonly leaves: readonly TensorLeaf[];
}

/** Adapters laid against a base: what fuse adds to it, and what a runtime adds over it. */
export interface AdapterMatch {
	/** Only modules that change something, adapter by adapter in their own order. */
	readonly jobs: readonly MatchedModule[];
	/** Every module, those at strength 0 too. */
	readonly ledger: readonly FuseLedgerEntry[];
	/** Only adapters that have embeddings. */
	readonly embeddings: readonly FuseEmbeddings[];
	readonly warnings: readonly Warning[];
}

/**
 * Find every module of the adapters in the base and decide its strength. No data is read; what is wrong inside the factors is
 * found by `checkFactors`.
 *
 * @throws {FormatError} `E_BASE_MISMATCH` (another base), `E_MODULE_NOT_IN_BASE`, `E_AMBIGUOUS` (a name fits two
 *   tensors), `E_UNSUPPORTED_DTYPE` (a quantised base), `E_UNKNOWN_KEY`, `E_LORA_ALPHA`, `E_USAGE` for a strength that is no number.
 */
export function matchAdapters(base: BaseModel, uses: readonly AdapterUse[], options: FuseOptions = {}): AdapterMatch {
	const jobs: MatchedModule[] = [];
	const ledger: FuseLedgerEntry[] = [];
	const embeddings: FuseEmbeddings[] = [];
	const warnings: Warning[] = [];
	for (const [place, use] of uses.entries()) {
		const { adapter, name } = use;
		if (adapter.unknown.size > 0) warnings.push(refuseUnknown(use, options));
		if (adapter.embeddings.length > 0) embeddings.push({ adapter: name, embeddings: adapter.embeddings });
		const matched = matchUse(base, use, place, options);
		jobs.push(...matched.jobs);
		for (const entry of matched.ledger) ledger.push(entry);
		warnings.push(...matched.warnings);
	}
	return { jobs, ledger, embeddings, warnings };
}

function matchUse(base: BaseModel, use: AdapterUse, place: number, options: FuseOptions): Omit<AdapterMatch, 'embeddings'> {
	const { adapter, name } = use;
	const settings = peftSettings(adapter);
	const strengths = new Map<TargetModule, number>();
	const active: TargetModule[] = [];
	const silent: TargetModule[] = [];
	for (const module of adapter.modules) {
		const strength = strengthOf(use.strength, module);
		if (!Number.isFinite(strength)) {
			throw new FormatError('E_USAGE', `The strength of ${quote(name)} for ${module.component} is ${strength}; give a finite number.`);
		}
		strengths.set(module, strength);
		if (strength === 0) continue;
		checkScaling(module);
		const off = module.scaling === 0 && SCALED.has(module.family) && module.factors.magnitude === undefined;
		(off ? silent : active).push(module);
	}
	const search = findModules(base, active);
	const misfits: Misfit[] = [];
	const matched = new Map<TargetModule, MatchedModule>();
	for (const module of active) {
		const stored = search.found.get(moduleKey(module));
		if (stored === undefined) continue;
		const strength = strengths.get(module) ?? 1;
		const result = jobFor({ module, strength, stored, settings, doraStrength: options.doraStrength });
		if ('why' in result) misfits.push(result);
		else matched.set(module, { use: place, ...result });
	}
	refuseMissing(base, use, active.length, search.missing, misfits);
	const ledger = adapter.modules.map((module) => entryOf(place, name, module, strengths.get(module) ?? 0, tensorsOf(matched.get(module))));
	return { jobs: [...matched.values()], ledger, warnings: silent.length === 0 ? [] : [alphaZero(name, silent)] };
}

/** @throws {FormatError} `E_LORA_ALPHA`. */
function checkScaling(module: TargetModule): void {
	if (Number.isFinite(module.scaling)) return;
	const where = quote(`${module.component} ${module.path}`);
	throw new FormatError(
		'E_LORA_ALPHA',
		module.rule === 'unread'
			? `The alpha of ${where} was not read (only the header was); read the adapter with its values.`
			: `${where} has scaling ${module.scaling}; a delta needs a finite one.`,
		{ at: module.path },
	);
}

function tensorsOf(matched: MatchedModule | undefined): string[] {
	if (matched === undefined) return [];
	const { job, leaves } = matched;
	return leaves.flatMap((leaf) => (job.stored.parts.get(leaf)?.segments ?? []).map(segmentName));
}

function entryOf(use: number, adapter: string, module: TargetModule, strength: number, tensors: readonly string[]): FuseLedgerEntry {
	const { component, path, family, rank, scaling } = module;
	return { use, adapter, component, path, family, dora: module.factors.magnitude !== undefined, rank, scaling, strength, tensors };
}

function alphaZero(name: string, silent: readonly TargetModule[]): Warning {
	const [first] = silent;
	return {
		code: 'W_ALPHA_ZERO',
		message: `${silent.length} modules of ${quote(name)} have alpha 0, which means strength 0: they change nothing (first: ${quote(`${first?.component} ${first?.path}`)}).`,
		at: first?.path,
	};
}
