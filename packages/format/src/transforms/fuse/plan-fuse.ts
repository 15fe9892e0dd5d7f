import type { Adapter, TargetModule } from '../../adapter.js';
import type { BaseModel } from '../../bases/base-model.js';
import { findModules, moduleKey } from '../../bases/find-modules.js';
import type { TensorLeaf } from '../../bases/place-base-tensor.js';
import { segmentName } from '../../bases/stored-part.js';
import { numel } from '../../dtype.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import { type AdapterUse, strengthOf } from '../strength/adapter-use.js';
import { jobFor, type Misfit, refuseMissing, refuseUnknown } from './plan-fuse-match.js';
import { peftSettings } from './plan-fuse-settings.js';
import { type FuseJob, touchedTensors } from './plan-fuse-touched.js';
import type { FuseEmbeddings, FuseLedgerEntry, FuseOptions, FusePlan } from './plan-fuse-types.js';
import { checkFactors } from './plan-fuse-values.js';
import type { TouchedTensor } from './touched-tensor.js';

export type { FuseEmbeddings, FuseLedgerEntry, FuseOptions, FusePlan } from './plan-fuse-types.js';

/** Families whose delta is a multiple of the scaling, so that alpha 0 means nothing. DoRA still normalises. */
const SCALED: ReadonlySet<TargetModule['family']> = new Set<TargetModule['family']>([
	'lora',
	'locon',
	'loha',
	'lokr',
	'glora',
	'embedding',
]);

interface Job {
	readonly job: FuseJob;
	readonly leaves: readonly TensorLeaf[];
}

/**
 * Decide which tensors of the base change and by what. Reads the adapters' factors (for NaN and Inf), nothing of the base.
 *
 * @throws {FormatError} `E_BASE_MISMATCH` (another base), `E_MODULE_NOT_IN_BASE`, `E_AMBIGUOUS` (a name fits two
 *   tensors), `E_NONFINITE`, `E_UNSUPPORTED_DTYPE` (a quantised base), `E_UNKNOWN_KEY`, `E_LORA_ALPHA`, `E_LORA_SHAPE`,
 *   `E_UNSUPPORTED_ADAPTER`, `E_EMPTY_ADAPTER` when no adapter has a module, `E_USAGE` for a strength that is no number,
 *   and what reading throws.
 */
export async function planFuse(base: BaseModel, uses: readonly AdapterUse[], options: FuseOptions = {}): Promise<FusePlan> {
	const jobs: Job[] = [];
	const ledger: FuseLedgerEntry[] = [];
	const embeddings: FuseEmbeddings[] = [];
	const warnings: Warning[] = [];
	for (const [place, use] of uses.entries()) {
		const { adapter, name } = use;
		if (adapter.unknown.size > 0) warnings.push(refuseUnknown(use, options));
		if (adapter.embeddings.length > 0) {
			embeddings.push({ adapter: name, embeddings: adapter.embeddings });
			warnings.push(beside(name, adapter));
		}
		const planned = planUse(base, use, place, options);
		jobs.push(...planned.jobs);
		for (const entry of planned.ledger) ledger.push(entry);
		warnings.push(...planned.warnings);
	}
	if (ledger.length === 0) {
		const names = uses.map((u) => quote(u.name)).join(', ');
		throw new FormatError(
			'E_EMPTY_ADAPTER',
			`${names === '' ? 'No adapter was given' : `${names} has no module`}; there is nothing to fuse.`,
		);
	}
	if (options.trustValues !== true) for (const { job } of jobs) await checkFactors(job);
	const touched = touchedTensors(base.files, jobs);
	let elements = 0;
	for (const { tensor } of touched) elements += numel(tensor.shape) ?? 0;
	return {
		base,
		touched,
		byFile: byFile(touched),
		modules: new Set(jobs.map(({ job }) => moduleKey(job.module))).size,
		elements,
		ledger,
		embeddings,
		warnings,
	};
}

function planUse(
	base: BaseModel,
	use: AdapterUse,
	place: number,
	options: FuseOptions,
): { readonly jobs: readonly Job[]; readonly ledger: readonly FuseLedgerEntry[]; readonly warnings: readonly Warning[] } {
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
	const planned = new Map<TargetModule, Job>();
	for (const module of active) {
		const stored = search.found.get(moduleKey(module));
		if (stored === undefined) continue;
		const strength = strengths.get(module) ?? 1;
		const result = jobFor({ module, strength, stored, settings, doraStrength: options.doraStrength });
		if ('why' in result) misfits.push(result);
		else planned.set(module, result);
	}
	refuseMissing(base, use, active.length, search.missing, misfits);
	const ledger = adapter.modules.map((module) => entryOf(place, name, module, strengths.get(module) ?? 0, tensorsOf(planned.get(module))));
	return { jobs: [...planned.values()], ledger, warnings: silent.length === 0 ? [] : [alphaZero(name, silent)] };
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

function tensorsOf(planned: Job | undefined): string[] {
	if (planned === undefined) return [];
	const { job, leaves } = planned;
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

function beside(name: string, adapter: Adapter): Warning {
	const tokens = adapter.embeddings.slice(0, 4).map((e) => quote(e.token));
	const rest = adapter.embeddings.length > tokens.length ? ` and ${adapter.embeddings.length - tokens.length} more` : '';
	return {
		code: 'W_EMBEDDING_BESIDE',
		message: `${quote(name)} carries embeddings (${tokens.join(', ')}${rest}), which no weight of the base holds: they go to files beside OUT.`,
	};
}

function byFile(touched: readonly TouchedTensor[]): FusePlan['byFile'] {
	const out = new Map<TouchedTensor['file'], Map<string, TouchedTensor>>();
	for (const tensor of touched) {
		const known = out.get(tensor.file);
		if (known === undefined) out.set(tensor.file, new Map([[tensor.name, tensor]]));
		else known.set(tensor.name, tensor);
	}
	return out;
}
