import type { Adapter, TargetModule } from './adapter.js';
import { RUNTIMES, type RuntimeId, type RuntimeRow } from './runtimes-table.js';

export { RUNTIMES, type RuntimeId, type RuntimeRow } from './runtimes-table.js';

/** What one runtime applies to one module at strength 1, and by which of its rules. */
export interface ModuleStrength {
	/** undefined: the runtime does not know the family; NaN: the value was not fetched. */
	readonly scaling: number | undefined;
	/** One phrase, shared by all modules it holds for: "alpha is only in lora_adapter_metadata, which ComfyUI does not read". */
	readonly why: string;
}

/** Scaling per module, parallel to `adapter.modules`. */
export interface RuntimeStrength {
	readonly runtime: RuntimeId;
	readonly modules: readonly ModuleStrength[];
}

/** A runtime that applies another strength than the file means. */
export interface StrengthDifference {
	readonly runtime: RuntimeId;
	/** Name for people: "ComfyUI". */
	readonly name: string;
	readonly why: string;
	/** Modules it holds for. */
	readonly modules: number;
	/** Of the first such module: what the file means and what the runtime applies. */
	readonly own: number;
	readonly applied: number;
	/** Smallest and largest applied / own over the modules; null where own is 0. */
	readonly gain: { readonly min: number; readonly max: number } | null;
	readonly first: { readonly component: string; readonly path: string };
	/** The whole as one sentence. */
	readonly message: string;
	/** repo@commit path of the rule. */
	readonly source: string;
}

const OWN = { why: 'as the file means it' };

/**
 * What `runtime` applies to each module of this file as it stands, by its own rules (CONFORMANCE.md 1.4), given
 * that it loads the module at all: `checkTarget` answers that.
 */
export function runtimeStrength(adapter: Adapter, runtime: RuntimeId): RuntimeStrength {
	const row = rowOf(runtime);
	return { runtime, modules: adapter.modules.map((module) => moduleStrength(row, module)) };
}

/** One module under one runtime's rules. */
export function moduleStrength(row: RuntimeRow, module: TargetModule): ModuleStrength {
	const { family, rank, rule } = module;
	if (!row.families.has(family)) return { scaling: undefined, why: row.whyNoFamily };
	if (rule === 'none' && row.id !== 'peft') return { scaling: 1, why: OWN.why };
	if (rule === 'constraint' || rule === 'none') return { scaling: module.scaling, why: OWN.why };
	if (rule === 'unread') return { scaling: Number.NaN, why: 'alpha was not fetched' };
	if (module.scaleTensor !== undefined) {
		if (row.readsScaleTensor) return { scaling: module.scaling, why: OWN.why };
		// The reader sees only alpha beside it.
		if (module.alphaTensor === undefined || module.alpha === null || rank === undefined) {
			return { scaling: 1, why: row.words.scale };
		}
		return { scaling: module.alpha / rank, why: row.words.scale };
	}
	if (module.alpha === null) return { scaling: 1, why: row.words.missing };
	if (!row.alphaFrom.has(module.alphaSource)) {
		return {
			scaling: 1,
			why: module.alphaSource === 'tensor' ? row.words.tensor : module.alphaSource === 'config' ? row.words.config : row.words.metadata,
		};
	}
	if (module.alpha === 0 && row.zeroAlphaIsRank) return { scaling: 1, why: row.words.zero };
	// LoKr with both factors full has no rank: only PEFT multiplies.
	if (rank === undefined) return { scaling: row.id === 'peft' ? module.scaling : 1, why: OWN.why };
	if (rule === 'alpha/sqrt(rank)') return { scaling: module.scaling, why: OWN.why };
	return { scaling: module.alpha / rank, why: OWN.why };
}

/**
 * Runtimes that read files of this layout but apply another strength than the file means, one row per runtime and
 * reason, in the order of the table.
 */
export function strengthDifferences(adapter: Adapter): StrengthDifference[] {
	const found: StrengthDifference[] = [];
	for (const row of RUNTIMES) if (row.reads(adapter)) collect(row, adapter, found);
	return found;
}

/** The table row of a runtime. */
export function rowOf(runtime: RuntimeId): RuntimeRow {
	const row = RUNTIMES.find((r) => r.id === runtime);
	if (row === undefined) throw new TypeError(`no runtime ${runtime}`);
	return row;
}

interface Tally {
	modules: number;
	readonly own: number;
	readonly applied: number;
	min: number;
	max: number;
	readonly first: TargetModule;
}

function collect(row: RuntimeRow, adapter: Adapter, found: StrengthDifference[]): void {
	const byWhy = new Map<string, Tally>();
	const { layout } = adapter.source;
	for (const module of adapter.modules) {
		if (row.loads?.(module, layout) === false) continue;
		const { scaling: applied, why } = moduleStrength(row, module);
		if (applied === undefined || Object.is(applied, module.scaling) || Number.isNaN(applied) || applied === module.scaling) continue;
		const gain = module.scaling === 0 ? Number.NaN : applied / module.scaling;
		// The same number by another formula is no difference.
		if (Math.abs(gain - 1) < 1e-9) continue;
		const tally = byWhy.get(why);
		if (tally === undefined) {
			byWhy.set(why, { modules: 1, own: module.scaling, applied, min: gain, max: gain, first: module });
		} else {
			tally.modules++;
			tally.min = Math.min(tally.min, gain);
			tally.max = Math.max(tally.max, gain);
		}
	}
	for (const [why, tally] of byWhy) {
		const { modules, own, applied, first } = tally;
		const of = all(modules, adapter.modules.length);
		const gain = Number.isNaN(tally.min) || Number.isNaN(tally.max) ? null : { min: tally.min, max: tally.max };
		const factor =
			gain === null ? '' : gain.min === gain.max ? ` (${number(gain.min)} times)` : ` (${number(gain.min)} to ${number(gain.max)} times)`;
		found.push({
			runtime: row.id,
			name: row.name,
			why,
			modules,
			own,
			applied,
			gain,
			first: { component: first.component, path: first.path },
			message: `${row.name} applies ${number(applied)} instead of ${number(own)}${factor} to ${of}: ${why}.`,
			source: row.source,
		});
	}
}

function all(some: number, total: number): string {
	if (some === total) return total === 1 ? 'the module' : `all ${total} modules`;
	return `${some} of ${total} modules`;
}

/** At most six significant digits, no trailing zeros. */
function number(value: number): string {
	return String(Number(value.toPrecision(6)));
}
