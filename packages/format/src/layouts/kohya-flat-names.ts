import type { Adapter, TargetModule } from '../adapter.js';
import { moduleId, stringMap } from './kohya-alpha.js';
import type { FlatLayout } from './kohya-flat-layout.js';
import type { NamedRun } from './kohya-flat-resolve.js';
import type { FlatKey } from './kohya-keys.js';
import { type FlatNameParts, flatPath, type NameContext, nameContext } from './kohya-names.js';

/** Names as `encodeFlat` writes them under this form. */
export function namer(
	layout: FlatLayout,
	adapter: Adapter,
	form: ReadonlyMap<string, string>,
	context: NameContext = nameContext(adapter.modules, adapter.base.family, adapter.naming),
): (module: TargetModule) => string | undefined {
	const said = form.get(`${layout.id}.blocks`);
	const blocks = said === 'sgm' || said === 'diffusers' ? said : layout.blocksOf(context);
	const prefixes = stringMap(form.get(`${layout.id}.prefix`) ?? '{}');
	const names = stringMap(form.get(`${layout.id}.names`) ?? '{}');
	return (module) => {
		const exact = names.size === 0 ? undefined : names.get(moduleId(module));
		if (exact !== undefined) return exact;
		const asked = prefixes.get(module.component);
		const prefix = asked !== undefined && isPrefix(layout, asked) ? asked : layout.prefixOf(module.component, context);
		return prefix === undefined ? undefined : `${prefix}_${flatPath(module, blocks, context)}`;
	};
}

function isPrefix(layout: FlatLayout, text: string): boolean {
	return layout.prefixes.some((p) => text === p || text === `${p}_`);
}

/**
 * True where flattening the path gives the file's name back for certain: `unflattenUnet` undoes nothing else. An
 * upsampler's place in its block depends on the block's attentions.
 */
function isRegular(module: TargetModule, style: 'diffusers' | 'sgm' | undefined, blocks: 'diffusers' | 'sgm'): boolean {
	return module.component === 'unet' && style === blocks && !module.path.includes('.upsamplers.');
}

/** Form entries for the names, so that `namer` gives back exactly those of the file. */
export function describeNames(
	layout: FlatLayout,
	adapter: Adapter,
	runs: readonly NamedRun[],
	keys: readonly FlatKey[],
): Map<string, string> {
	// Modules and their order follow from the runs: what is left is the family and the naming.
	let byContext = DESCRIBED.get(runs);
	if (byContext === undefined) {
		byContext = new Map();
		DESCRIBED.set(runs, byContext);
	}
	const context = `${layout.id} ${adapter.base.family} ${adapter.naming}`;
	let names = byContext.get(context);
	if (names === undefined) {
		names = describeRuns(layout, adapter, runs, keys);
		if (byContext.size < MAX_CONTEXTS) byContext.set(context, names);
	}
	const form = new Map(names);
	if (adapter.modules.some((m) => m.magnitudeAxis === 'out' && m.factors.magnitude?.shape.length === 1))
		form.set(`${layout.id}.dora`, 'flat');
	return form;
}

/** Families come from header entries too. */
const MAX_CONTEXTS = 16;
const DESCRIBED = new WeakMap<readonly NamedRun[], Map<string, ReadonlyMap<string, string>>>();

function describeRuns(layout: FlatLayout, adapter: Adapter, runs: readonly NamedRun[], keys: readonly FlatKey[]): Map<string, string> {
	const form = new Map<string, string>();
	const context = nameContext(adapter.modules, adapter.base.family, adapter.naming);
	const named = byModule(adapter.modules, runs);
	const prefixes = new Map<string, string>();
	let sgm = 0;
	let other = 0;
	for (const { module, prefix, style } of named) {
		if (!prefixes.has(module.component)) prefixes.set(module.component, prefix);
		if (style === 'sgm') sgm++;
		else if (style === 'diffusers') other++;
	}
	const unusual = [...prefixes].filter(([component, prefix]) => layout.prefixOf(component, context) !== prefix);
	if (unusual.length > 0) form.set(`${layout.id}.prefix`, JSON.stringify(Object.fromEntries(unusual)));
	const blocks = sgm > other ? 'sgm' : 'diffusers';
	if (sgm + other > 0 && blocks !== layout.blocksOf(context)) form.set(`${layout.id}.blocks`, blocks);
	const regenerate = namer(layout, adapter, form, context);
	const odd = new Map<string, string>();
	for (const [i, module] of adapter.modules.entries()) {
		const run = named[i];
		if (run === undefined || (isRegular(module, run.style, blocks) && run.prefix === prefixes.get(module.component))) continue;
		if (regenerate(module) !== run.name) odd.set(moduleId(module), run.name);
	}
	if (odd.size > 0) form.set(`${layout.id}.names`, JSON.stringify(Object.fromEntries(odd)));
	const style = keys.find((k) => k.role === 'down' && k.style !== 'any')?.style ?? 'kohya';
	const aiToolkit = keys.some((k) => k.style === 'ai-toolkit');
	if (aiToolkit || style !== 'kohya') form.set(`${layout.id}.leaves`, aiToolkit ? 'ai-toolkit' : style);
	return form;
}

/** The run of each module, in the modules' order; of several the last. `assembleModules` keeps the order of first sight. */
function byModule(modules: readonly TargetModule[], runs: readonly NamedRun[]): readonly NamedRun[] {
	if (runs.length === modules.length) return runs;
	const last = new Map<string, NamedRun>();
	for (const run of runs) last.set(moduleId(run.module), run);
	return modules.flatMap((m) => last.get(moduleId(m)) ?? []);
}

/** Whether this layout would give the transformer of an adapter that came from elsewhere other names than it has. */
export function choosesOther(layout: FlatLayout, adapter: Adapter): boolean {
	const chosen = layout.naming?.(adapter.base.family);
	return chosen !== undefined && chosen !== adapter.naming && adapter.modules.some((m) => m.component === 'transformer');
}

/** Paths that reading the written names would not give back. */
export function describePaths(layout: FlatLayout, adapter: Adapter, names: ReadonlyMap<string, string>): Map<string, string> {
	const keys: FlatNameParts[] = [];
	for (const name of names.values()) {
		const prefix = prefixOf(layout, name);
		if (prefix !== undefined) keys.push({ prefix, flat: name.slice(prefix.length + 1) });
	}
	const read = layout.resolve(keys);
	const lost = new Map<string, string>();
	for (const module of adapter.modules) {
		const name = names.get(moduleId(module));
		const again = name === undefined ? undefined : read.byName.get(name);
		if (name === undefined || again === undefined || !module.resolved) continue;
		if (!again.resolved || moduleId(again) !== moduleId(module)) lost.set(name, moduleId(module));
	}
	const form = new Map<string, string>();
	if (lost.size > 0) form.set(`${layout.id}.paths`, JSON.stringify(Object.fromEntries(lost)));
	if (read.naming !== adapter.naming) form.set(`${layout.id}.naming`, adapter.naming);
	return form;
}

function prefixOf(layout: FlatLayout, name: string): string | undefined {
	const prefix = layout.prefixes.find((p) => name.startsWith(p) && name.charCodeAt(p.length) === 95);
	return prefix !== undefined && name.charCodeAt(prefix.length + 1) === 95 ? `${prefix}_` : prefix;
}
