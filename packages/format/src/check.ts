import type { Adapter } from './adapter.js';
import { checkModule, type FateReason, familyName, type ModuleCheck, moduleKeys, targetStrength } from './check-module.js';
import type { CheckTarget } from './check-names.js';
import { type StrengthTally, strengthTally } from './check-strength.js';
import { wholeFileRefusal } from './check-whole.js';
import type { LayoutInput } from './layouts/layout.js';
import { nearestName } from './nearest-name.js';
import { rowOf } from './runtimes.js';

export type { FateReason, ModuleFate } from './check-module.js';
export type { CheckTarget } from './check-names.js';

/** Targets of `lora check`. */
export const CHECK_TARGETS: readonly CheckTarget[] = ['comfyui', 'a1111', 'diffusers', 'peft', 'kohya'];

/** Modules that share one reason for not being loaded whole. */
export interface CheckProblem {
	readonly reason: FateReason;
	readonly fate: 'partial' | 'unverified' | 'not-loaded';
	/** One sentence. */
	readonly why: string;
	readonly modules: number;
	/** At most five, with the names under which the reader would look. */
	readonly examples: readonly {
		readonly key: string;
		readonly component: string;
		readonly path: string;
		readonly nearest: readonly string[];
	}[];
}

/** What a runtime will do with this file as it stands. Plain data; schema/check.schema.json. */
export interface CheckReport {
	readonly schema: 'lora.check/1';
	readonly target: CheckTarget;
	/** Name of the reader for people. */
	readonly reader: string;
	/** Source of the rules: repo@commit path. */
	readonly source: string;
	readonly file: string;
	readonly layout: string;
	/** `all`: every module at the file's own strength; `some`: fewer, partly, or at another strength; `none`: not one module. */
	readonly verdict: 'all' | 'some' | 'none';
	/** The whole as one sentence. */
	readonly summary: string;
	readonly modules: {
		readonly total: number;
		readonly loaded: number;
		readonly partial: number;
		readonly unverified: number;
		readonly notLoaded: number;
	};
	readonly components: readonly { readonly component: string; readonly total: number; readonly loaded: number }[];
	/** The reader refuses the file as a whole, and why. */
	readonly refused: string | null;
	readonly problems: readonly CheckProblem[];
	readonly strength: StrengthTally;
	/** Families of the file that the reader does not compute. */
	readonly missingFamilies: readonly string[];
	/** Tensors that the reader will not use, in the order of the file. */
	readonly unmatched: readonly string[];
	/** Nearest known names for tensors that no layout knows. */
	readonly unknown: readonly { readonly key: string; readonly nearest: readonly string[] }[];
	readonly embeddings: { readonly total: number; readonly note: string | null };
	/** What to do, most useful first; commands are complete but for IN and OUT. */
	readonly advice: readonly string[];
}

const EXAMPLES = 5;
/** Layouts that a reader converts as a whole. Sources: diffusers loaders/lora_pipeline.py (Flux); ComfyUI comfy/lora_convert.py. */
const OWN_CONVERTERS: ReadonlyMap<string, ReadonlySet<CheckTarget>> = new Map([
	['xlabs-flux', new Set<CheckTarget>(['diffusers'])],
	['bfl-control', new Set<CheckTarget>(['diffusers', 'comfyui'])],
]);
/** Unknown names for which a nearest name is searched. */
const NEAREST = 20;

/**
 * How many of an adapter's modules `target` loads from this file as it stands, at which strength, and what to do
 * about the rest. Names and shapes only; no data is read.
 */
export function checkTarget(input: LayoutInput, adapter: Adapter, target: CheckTarget): CheckReport {
	const row = rowOf(target);
	const refused = wholeFileRefusal(input, adapter, target);
	const present = inBase(input, adapter);
	const wholeLayout = OWN_CONVERTERS.get(adapter.source.layout)?.has(target) ?? false;
	const checks = adapter.modules.map((module) =>
		checkModule(module, {
			target,
			readerName: row.name,
			query: (m) => ({
				component: m.component,
				path: m.path,
				naming: adapter.naming,
				base: adapter.base.family,
				layout: adapter.source.layout,
			}),
			inBase: present,
			wholeLayout,
		}),
	);
	const loads = (check: ModuleCheck | undefined): boolean => refused === undefined && check !== undefined && check.fate !== 'not-loaded';
	const components = new Map<string, { total: number; loaded: number }>();
	const problems = new Map<string, CheckProblem & { modules: number; examples: CheckProblem['examples'][number][] }>();
	const count = { loaded: 0, partial: 0, unverified: 0, notLoaded: 0 };
	const missing = new Set<string>();
	const used = new Set<string>();
	adapter.modules.forEach((module, i) => {
		const check = checks[i];
		if (check === undefined) return;
		const component = components.get(module.component) ?? { total: 0, loaded: 0 };
		components.set(module.component, component);
		component.total++;
		if (loads(check)) {
			component.loaded++;
			for (const { key } of moduleKeys(module)) used.add(key);
		}
		if (refused !== undefined || check.fate === 'not-loaded') count.notLoaded++;
		else count[check.fate]++;
		if (check.reason === 'family') missing.add(familyName(module));
		if (check.fate === 'loaded' || check.reason === undefined) return;
		const id = `${check.reason}\u0000${check.why}`;
		const problem = problems.get(id) ?? { reason: check.reason, fate: check.fate, why: `${check.why}.`, modules: 0, examples: [] };
		problems.set(id, problem);
		problem.modules++;
		if (problem.examples.length < EXAMPLES)
			problem.examples.push({ key: check.key, component: module.component, path: module.path, nearest: check.nearest });
	});
	const total = adapter.modules.length;
	const usable = total - count.notLoaded;
	const strength = strengthTally(
		adapter,
		(module) => targetStrength(target, module),
		(i) => loads(checks[i]),
	);
	const verdict =
		usable === 0
			? 'none'
			: usable === total && count.partial === 0 && strength.differs === 0 && adapter.unknown.size === 0
				? 'all'
				: 'some';
	const advice = adviceFor(target, adapter, {
		refused,
		missing,
		usable,
		total,
		partial: count.partial,
		differs: strength.differs,
		config: input.config !== undefined,
	});
	return {
		schema: 'lora.check/1',
		target,
		reader: row.name,
		source: row.source,
		file: input.file.name,
		layout: adapter.source.layout,
		verdict,
		summary: summary(row.name, usable, total, strength, refused),
		modules: { total, ...count },
		components: [...components].map(([component, c]) => ({ component, ...c })),
		refused: refused ?? null,
		problems: [...problems.values()].sort((a, b) => b.modules - a.modules),
		strength,
		missingFamilies: [...missing],
		unmatched: [...input.file.tensors.keys()].filter((key) => !used.has(key) && !isEmbedding(adapter, key)),
		unknown: nearestUnknown(adapter),
		embeddings: { total: adapter.embeddings.length, note: embeddingNote(target, adapter) },
		advice,
	};
}

function inBase(
	input: LayoutInput,
	adapter: Adapter,
): (module: { readonly component: string; readonly path: string; readonly resolved: boolean }) => boolean {
	const { base } = input;
	if (base === undefined || adapter.naming !== 'diffusers') return () => true;
	const paths = new Map([...base.components].map(([component, modules]) => [component, new Set(modules.map((m) => m.path))]));
	return (module) => !module.resolved || (paths.get(module.component)?.has(module.path) ?? true);
}

function summary(reader: string, usable: number, total: number, strength: StrengthTally, refused: string | undefined): string {
	if (refused !== undefined) return `${reader} refuses the file: ${refused}`;
	const [first] = strength.examples;
	const at =
		first === undefined
			? ''
			: `, ${strength.differs} of them at another strength than the file means (${first.applied} instead of ${first.own})`;
	return `${reader} loads ${usable} of ${total} modules${at}.`;
}

interface AdviceInput {
	readonly refused: string | undefined;
	readonly missing: ReadonlySet<string>;
	readonly usable: number;
	readonly total: number;
	readonly partial: number;
	readonly differs: number;
	readonly config: boolean;
}

function adviceFor(target: CheckTarget, adapter: Adapter, state: AdviceInput): string[] {
	const advice: string[] = [];
	const layout = target === 'diffusers' ? 'diffusers' : target === 'peft' ? 'peft' : 'kohya';
	const short = state.usable < state.total || state.refused !== undefined || state.partial > 0;
	const helps = adapter.modules.some((m) => rowOf(target).families.has(m.family));
	if (adapter.unknown.size > 0) advice.push(`${adapter.unknown.size} tensors belong to no module known here: lora inspect names them.`);
	if (state.missing.size > 0) {
		advice.push(`${[...state.missing].join(', ')}: no renaming helps; use another reader, or train without.`);
		if (target === 'kohya') advice.push('LyCORIS families load in sd-scripts with --network_module lycoris.kohya.');
	}
	if (target === 'peft' && !state.config)
		advice.push('PEFT needs adapter_config.json beside the weights: lora convert IN OUT --to peft writes it.');
	if (short && helps && adapter.source.layout !== layout) advice.push(`lora convert IN OUT --to ${layout}`);
	else if (state.differs > 0) {
		advice.push(
			adapter.source.layout === layout ? `lora convert IN OUT --to ${layout} --alpha fold` : `lora convert IN OUT --to ${layout}`,
		);
	}
	if (target === 'diffusers' && adapter.source.layout === 'diffusers-attn-procs' && state.usable === 0) {
		advice.push(
			'As it stands, pipe.unet.load_attn_procs(FILE) reads it; pipe.load_lora_weights(FILE) finds nothing under "unet." and says so only in the log.',
		);
	}
	if (target === 'a1111' && adapter.source.layout === 'diffusers')
		advice.push("SD.Next, A1111's descendant, also reads dotted lora_A / lora_B names.");
	if (target === 'a1111' && adapter.base.family !== 'unknown' && !/^sd[12x]/.test(adapter.base.family)) {
		advice.push(`A1111 runs Stable Diffusion 1, 2 and XL; for ${adapter.base.label} use ComfyUI or Forge.`);
	}
	return advice;
}

function isEmbedding(adapter: Adapter, key: string): boolean {
	return adapter.embeddings.some((e) => e.vectors.origin === key);
}

function embeddingNote(target: CheckTarget, adapter: Adapter): string | null {
	if (adapter.embeddings.length === 0) return null;
	const bundle = adapter.embeddings.some((e) => e.vectors.origin?.startsWith('bundle_emb.') === true);
	if (target === 'a1111' && bundle) return 'A1111 reads bundle_emb embeddings with the LoRA.';
	return `${rowOf(target).name} does not take embeddings from a LoRA file; convert writes them beside OUT for its textual-inversion loader.`;
}

function nearestUnknown(adapter: Adapter): CheckReport['unknown'] {
	const known = new Set<string>();
	for (const module of adapter.modules) for (const { key } of moduleKeys(module)) known.add(key);
	return [...adapter.unknown.keys()].slice(0, NEAREST).map((key) => {
		const near = nearestName(key, known);
		return { key, nearest: near === undefined ? [] : [near] };
	});
}
