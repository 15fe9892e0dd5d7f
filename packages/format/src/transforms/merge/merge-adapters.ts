import type { Adapter, TargetModule } from '../../adapter.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import { loadKernel } from '../../kernel/index.js';
import { guessBaseOf } from '../../layouts/shared.js';
import type { AdapterUse } from '../strength/adapter-use.js';
import { alignAdapters } from './merge-align.js';
import { dependsOnBase } from './merge-dense.js';
import { chooseDtype } from './merge-dtype.js';
import { mergeEmbeddings } from './merge-embeddings.js';
import { mergeMetadata } from './merge-metadata.js';
import { type MergeSettings, mergeSettings } from './merge-method.js';
import { mergeModule } from './merge-module.js';
import { type GroupPlan, planGroup } from './merge-plan.js';
import type { MergedModule, MergeOptions, MergeResult } from './merge-types.js';

/** Bytes of merged factors that are kept in memory; the rest is computed again when it is written. */
const KEEP_BYTES = 512 * 1024 * 1024;

/**
 * Merge adapters of any layouts, dtypes, ranks and namings into one, with the error of every module known before anything is
 * written. Default: the exact sum, factors side by side. See `MergeMethod`.
 *
 * Everything is read once for the result and its error, in float64, one module at a time.
 *
 * @throws {FormatError} `E_USAGE`, `E_RANK` (options), `E_BASE_MISMATCH` (different models, or a base is needed),
 *   `E_MODULE_UNRESOLVED`, `E_LORA_SHAPE`, `E_LORA_RANK`, `E_UNSUPPORTED_ADAPTER`, `E_UNKNOWN_KEY`, `E_NONFINITE`,
 *   `E_NAME_COLLISION` (tokens), `E_EMPTY_ADAPTER` (nothing is left), `E_LIMIT`, and what reading throws.
 */
export async function mergeAdapters(uses: readonly AdapterUse[], options: MergeOptions = {}): Promise<MergeResult> {
	if (uses.length === 0) throw new FormatError('E_USAGE', 'Name at least one adapter to merge.');
	const settings = mergeSettings(options, uses.length);
	const warnings: Warning[] = [...inputWarnings(uses), ...unknownTensors(uses, options)];
	await loadKernel();
	const aligned = alignAdapters(uses, options.base?.inventory);
	const planned: GroupPlan[] = [];
	for (const group of aligned.groups) planned.push(await planGroup(group, settings));
	const on = planned.filter((plan) => plan.kind !== 'off');
	const { embeddings, warnings: tokens } = await mergeEmbeddings(uses, options.embeddings ?? 'refuse');
	if (on.length === 0 && embeddings.length === 0) {
		throw new FormatError('E_EMPTY_ADAPTER', 'Nothing is left to write: every module of every adapter has strength 0.');
	}
	const { dtype, plans, notes } = await chooseDtype(on, settings);
	const keep = { left: KEEP_BYTES };
	const modules: TargetModule[] = [];
	const reports: MergedModule[] = [];
	let underflow = 0;
	for (const plan of plans) {
		const result = await mergeModule(plan, { settings, dtype, keep });
		modules.push(result.module);
		reports.push(result.report);
		// What is cut off an SVD is noise around 0.
		if (result.report.how !== 'svd') underflow += result.underflow;
		options.onProgress?.(modules.length, plans.length);
	}
	if (underflow > 0 && (dtype === 'F16' || dtype === 'BF16'))
		warnings.push({
			code: 'W_UNDERFLOW',
			message: `${underflow} numbers of the result are too small for ${dtype} and became 0; --dtype f32 keeps them.`,
		});
	warnings.push(...tokens, ...rankWarnings(reports, modules), ...baseWarnings(plans, settings));
	const metadata = mergeMetadata(uses, modules);
	const adapter: Adapter = {
		naming: aligned.naming,
		modules,
		embeddings,
		metadata,
		consumed: [],
		form: new Map(),
		unknown: new Map(),
		dead: new Map(),
		base: guessBaseOf(modules, aligned.naming, metadata),
		source: { layout: 'merge', container: 'memory', name: uses.map((use) => use.name).join(' + ') },
		warnings: [],
	};
	return {
		adapter,
		method: settings.method,
		dtype,
		modules: reports,
		largestError: reports.reduce((most, { error }) => Math.max(most, error ?? Number.POSITIVE_INFINITY), 0),
		switchedOff: planned.length - on.length,
		notes,
		warnings,
	};
}

/** Warnings of reading, each with the adapter's name. */
function inputWarnings(uses: readonly AdapterUse[]): Warning[] {
	return uses.flatMap(({ adapter, name }) =>
		adapter.warnings.map((w) => ({ ...w, message: uses.length > 1 ? `${name}: ${w.message}` : w.message })),
	);
}

function unknownTensors(uses: readonly AdapterUse[], options: MergeOptions): Warning[] {
	const out: Warning[] = [];
	for (const { adapter, name } of uses) {
		const [first] = adapter.unknown.keys();
		if (first === undefined) continue;
		const what = `${adapter.unknown.size} tensors of ${quote(name)} belong to no module that any layout here knows (first: ${quote(first)})`;
		if (options.allowUnknown !== true)
			throw new FormatError('E_UNKNOWN_KEY', `${what}, so they cannot be merged; pass --allow-loss to leave them out.`, { at: first });
		out.push({ code: 'W_UNKNOWN_KEY', message: `${what}; they are left out.`, at: first });
	}
	return out;
}

function rankWarnings(reports: readonly MergedModule[], modules: readonly TargetModule[]): Warning[] {
	const out: Warning[] = [];
	const cut = reports.filter((r) => r.truncation > 0);
	const worst = cut.reduce<MergedModule | undefined>(
		(most, r) => (most === undefined || r.truncation > most.truncation ? r : most),
		undefined,
	);
	if (worst !== undefined) {
		out.push({
			code: 'W_TRUNCATED_RANK',
			message: `${cut.length} of ${reports.length} modules are truncated; the largest loss is ${percent(worst.truncation)} of the norm, in ${worst.component} ${worst.path} at rank ${worst.rank ?? 0}.`,
			at: worst.path,
		});
	}
	const full = modules.filter((m) => m.rank !== undefined && m.rank > shorterSide(m));
	const [first] = full;
	if (first !== undefined) {
		out.push({
			code: 'W_RANK',
			message: `${full.length} modules have a higher rank than their weights have rows or columns (first: ${first.component} ${first.path}, rank ${first.rank} of ${shorterSide(first)}); --rank ${shorterSide(first)} says the same in less.`,
			at: first.path,
		});
	}
	return out;
}

function shorterSide({ factors }: TargetModule): number {
	const { up, down } = factors;
	if (up === undefined || down === undefined) return Number.POSITIVE_INFINITY;
	return Math.min(
		up.shape[0] ?? 1,
		down.shape.slice(1).reduce((n, d) => n * d, 1),
	);
}

function baseWarnings(plans: readonly GroupPlan[], settings: MergeSettings): Warning[] {
	const bound = plans.filter(dependsOnBase);
	const [first] = bound;
	if (first === undefined || settings.base === undefined) return [];
	return [
		{
			code: 'W_NEEDS_BASE',
			message: `${bound.length} modules (first: ${first.group.component} ${first.group.path}) were computed with the weights of ${settings.base.name}; on another base the result is another.`,
			at: first.group.path,
		},
	];
}

function percent(share: number): string {
	return `${(100 * share).toPrecision(3)} %`;
}
