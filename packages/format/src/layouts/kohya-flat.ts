import type { Adapter, Naming, TargetModule } from '../adapter.js';
import { quote, type Warning, type WarningSink } from '../errors.js';
import { unpackMetadata } from '../metadata/carry.js';
import { flattenPath } from '../modules/index.js';
import type { Tensor } from '../tensor.js';
import { assembleGroups, groupParts, type NamedPart, type PartGroup } from './assemble.js';
import { parseBundles } from './bundle-embeddings.js';
import { isFullRank } from './full-rank.js';
import { describeAlphas, moduleId, parseAlphaForm, stringMap } from './kohya-alpha.js';
import { type LeafOptions, leafOutput, loseModule, writeLeaves } from './kohya-factors.js';
import { finishEncode, foreignForm } from './kohya-finish.js';
import { type FlatKey, readFlatKeys } from './kohya-keys.js';
import {
	defaultBlocks,
	defaultPrefix,
	type FlatNameParts,
	flatName,
	flatPath,
	type NameContext,
	nameContext,
	type ResolvedNames,
	resolveFlatNames,
} from './kohya-names.js';
import type { Claim, Encoded, EncodeOptions, LayoutInput } from './layout.js';
import { makeAdapter } from './shared.js';

/**
 * The common part of layouts that write a module path with `_` for `.` behind a prefix (`kohya`,
 * `lycoris-standalone`). Form entries, `ID` being the layout's id; each stands only where writing would give other
 * names than the file has:
 *
 * - `ID.prefix`: JSON of component -> prefix (`{"text_encoder":"lora_te1"}`)
 * - `ID.blocks`: `diffusers` or `sgm`, how the UNet's blocks are named
 * - `ID.names`: JSON of module id -> name, for single modules that none of this explains
 * - `ID.leaves`: `peft`, `diffusers`, `linear-layer` or `ai-toolkit`, when down and up are not `lora_down`, `lora_up`
 * - `ID.paths`: JSON of name -> `COMPONENT PATH`, written into the file itself where flattening loses the path (names
 *   that no table has, or that two models share); `ID.naming`: the naming of these paths
 * - `ID.kept`: `yes` in a file of a transformer that keeps other names than the layout's own choice
 * - `ID.dora`: `flat` when output-axis magnitudes are vectors
 * - `ID.fullrank`: `yes` for ai-toolkit's full differences under the down factor's name
 * - `alpha.*`: see `kohya-alpha.ts`
 */
export interface FlatLayout {
	readonly id: string;
	readonly prefixes: readonly string[];
	/** How flat names become paths. */
	readonly resolve: (keys: readonly FlatNameParts[]) => ResolvedNames;
	readonly prefixOf: (component: string, context: NameContext) => string | undefined;
	readonly blocksOf: (context: NameContext) => 'diffusers' | 'sgm';
	/** The naming to write a transformer of this family in, where the layout has a choice. */
	readonly naming?: ((family: string) => Naming | undefined) | undefined;
	/** Checks of the layout's own metadata. */
	readonly check: (metadata: ReadonlyMap<string, string>, modules: readonly TargetModule[], warn: WarningSink) => void;
}

/** kohya's own rules; see kohya.ts. */
export const KOHYA_RULES: Pick<FlatLayout, 'resolve' | 'prefixOf' | 'blocksOf'> = {
	resolve: resolveFlatNames,
	prefixOf: defaultPrefix,
	blocksOf: defaultBlocks,
};

/** Names with one of the prefixes and a known leaf; embeddings only beside them. */
export function claimFlat(layout: FlatLayout, input: LayoutInput): Claim {
	const { keys, bundles } = readFlatKeys(input.file, layout.prefixes);
	if (keys.length === 0) return { names: new Set(), confidence: 0, evidence: [] };
	const { names, evidence } = claimOf(keys);
	if (bundles.length === 0) return { names, confidence: 1, evidence };
	return {
		names: new Set([...names, ...bundles]),
		confidence: 1,
		evidence: [...evidence, `${bundles.length} names begin with bundle_emb.`],
	};
}

/** What follows from the keys alone; they are shared between files of the same names. */
const claimOf = ofKeys((keys) => {
	const names = new Set<string>();
	const counts = new Map<string, number>();
	for (const { key, prefix } of keys) {
		names.add(key);
		counts.set(prefix, (counts.get(prefix) ?? 0) + 1);
	}
	return { names, evidence: [...counts].map(([prefix, n]) => `${n} names begin with ${prefix}_`) };
});

/** @throws {FormatError} what `assembleModules` throws. */
export function decodeFlat(layout: FlatLayout, input: LayoutInput): Adapter {
	const warnings: Warning[] = [];
	const warn: WarningSink = (w) => {
		warnings.push(w);
	};
	const { file } = input;
	const { keys, bundles } = readFlatKeys(file, layout.prefixes);
	const unpacked = unpackMetadata(file.metadata);
	const { names, runs, parts, groups } = namesOf(layout, keys, unpacked.form);
	const fullRank = isFullRank(file);
	const grouped = fullRank ? groupParts(parts.map((p) => (p.role === 'down' ? { ...p, role: 'diff' } : p))) : groups();
	// PEFT's and ai-toolkit's leaves always mean the output axis, whatever the shape.
	const vectors = hasVectors(keys);
	const tensorOf = ({ key }: NamedPart): Tensor | undefined => file.tensors.get(key);
	const modules = assembleGroups(grouped, tensorOf, { file, warn, magnitude: vectors ? 'peft' : 'kohya', expectAlpha: true });
	const { embeddings } = parseBundles(bundles, file.tensors, { t5: names.t5 }, unpacked.form);
	const unknown = leftovers(file.tensors, keys, bundles);
	layout.check(unpacked.metadata, modules, warn);
	reportNames(modules, unknown, warn);
	const adapter = makeAdapter({
		layout: layout.id,
		input,
		naming: names.naming,
		modules,
		metadata: unpacked.metadata,
		warnings,
		embeddings,
		unknown,
	});
	const form = foreignForm(layout.id, unpacked.form);
	for (const [key, value] of describeNames(layout, adapter, runs, keys)) form.set(key, value);
	if (fullRank) form.set(`${layout.id}.fullrank`, 'yes');
	// A transformer in other words than we would choose for it: the way back takes them up again.
	if (choosesOther(layout, adapter) && !unpacked.form.has(`${layout.id}.kept`)) form.set(`${layout.id}.naming`, adapter.naming);
	for (const [key, value] of describeAlphas(modules)) form.set(key, value);
	return { ...adapter, form };
}

const hasVectors = ofKeys(
	(keys) =>
		keys.some((k) => k.role === 'magnitude' && k.style !== 'kohya') && !keys.some((k) => k.role === 'magnitude' && k.style === 'kohya'),
);

/** Every name resolved. */
interface FlatNames {
	readonly names: ResolvedNames;
	readonly runs: readonly NamedRun[];
	readonly parts: readonly NamedPart[];
	/** `parts` by module. @throws {FormatError} `E_LORA_DUPLICATE_MODULE`. */
	readonly groups: () => readonly PartGroup[];
}

const RESOLVED = new WeakMap<readonly FlatKey[], Map<FlatLayout, FlatNames>>();

/** The names of a file resolved: once for all files of the same names, unless the file says some of them itself. */
function namesOf(layout: FlatLayout, keys: readonly FlatKey[], form: ReadonlyMap<string, string>): FlatNames {
	if (form.has(`${layout.id}.paths`) || form.has(`${layout.id}.naming`))
		return resolveAll(withSaidPaths(layout, layout.resolve(keys), keys, form), keys);
	let byLayout = RESOLVED.get(keys);
	if (byLayout === undefined) {
		byLayout = new Map();
		RESOLVED.set(keys, byLayout);
	}
	let known = byLayout.get(layout);
	if (known === undefined) {
		known = resolveAll(layout.resolve(keys), keys);
		byLayout.set(layout, known);
	}
	return known;
}

function resolveAll(names: ResolvedNames, keys: readonly FlatKey[]): FlatNames {
	const parts: NamedPart[] = [];
	const runs: NamedRun[] = [];
	let last = '';
	let resolved: ModuleName = NO_NAME;
	for (const key of keys) {
		const name = flatName(key);
		if (name !== last) {
			resolved = names.byName.get(name) ?? { component: 'unet', path: key.flat, resolved: false };
			runs.push({ module: resolved, name, prefix: key.prefix, style: names.byName.get(name)?.style });
			last = name;
		}
		const { component, path } = resolved;
		parts.push({ key: key.key, component, path, resolved: resolved.resolved, role: key.role });
	}
	let groups: readonly PartGroup[] | undefined;
	return {
		names,
		runs,
		parts,
		groups() {
			groups ??= groupParts(parts);
			return groups;
		},
	};
}

/** A question that the keys alone answer, asked once for one list of them. */
function ofKeys<T>(work: (keys: readonly FlatKey[]) => T): (keys: readonly FlatKey[]) => T {
	const answers = new WeakMap<readonly FlatKey[], { readonly answer: T }>();
	return (keys) => {
		let known = answers.get(keys);
		if (known === undefined) {
			known = { answer: work(keys) };
			answers.set(keys, known);
		}
		return known.answer;
	};
}

/** Tensors of one name that stand together, and the module they belong to. */
interface NamedRun {
	readonly module: ModuleName;
	readonly name: string;
	readonly prefix: string;
	readonly style: 'diffusers' | 'sgm' | undefined;
}

/** The run of each module, in the modules' order; of several the last. `assembleModules` keeps the order of first sight. */
function byModule(modules: readonly TargetModule[], runs: readonly NamedRun[]): readonly NamedRun[] {
	if (runs.length === modules.length) return runs;
	const last = new Map<string, NamedRun>();
	for (const run of runs) last.set(moduleId(run.module), run);
	return modules.flatMap((m) => last.get(moduleId(m)) ?? []);
}

type ModuleName = Pick<TargetModule, 'component' | 'path' | 'resolved'>;

const NO_NAME: ModuleName = { component: '', path: '', resolved: false };

/** Never throws: what the layout cannot say is in `losses`. */
export function encodeFlat(layout: FlatLayout, adapter: Adapter, options: EncodeOptions): Encoded {
	const { form } = adapter;
	const out = leafOutput();
	const leaves = form.get(`${layout.id}.leaves`);
	const leafOptions: LeafOptions = {
		target: layout.id,
		style: leaves === 'peft' || leaves === 'diffusers' || leaves === 'linear-layer' || leaves === 'ai-toolkit' ? leaves : 'kohya',
		alphaForm: parseAlphaForm(form),
		alpha: options.alpha,
		flatMagnitude: form.get(`${layout.id}.dora`) === 'flat',
		fullRank: form.get(`${layout.id}.fullrank`) === 'yes',
	};
	const name = namer(layout, adapter, form);
	const names = new Map<string, string>();
	for (const module of adapter.modules) {
		const written = name(module);
		if (written !== undefined) names.set(moduleId(module), written);
		if (written === undefined) loseModule(out, module, `${layout.id} has no prefix for the component ${quote(module.component)}.`);
		else writeLeaves(out, module, written, leafOptions);
	}
	const own = describePaths(layout, adapter, names);
	if (choosesOther(layout, adapter) && form.get(`${layout.id}.naming`) !== adapter.naming && adapter.source.layout !== layout.id)
		own.set(`${layout.id}.kept`, 'yes');
	return finishEncode(adapter, out, leafOptions, new Map([...foreignForm(layout.id, form), ...own]), options);
}

/** Whether this layout would give the transformer of an adapter that came from elsewhere other names than it has. */
function choosesOther(layout: FlatLayout, adapter: Adapter): boolean {
	const chosen = layout.naming?.(adapter.base.family);
	return chosen !== undefined && chosen !== adapter.naming && adapter.modules.some((m) => m.component === 'transformer');
}

/** Paths that reading the written names would not give back. */
function describePaths(layout: FlatLayout, adapter: Adapter, names: ReadonlyMap<string, string>): Map<string, string> {
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

/** The names as resolved, except where the file says the path and flattening it gives this very name. */
function withSaidPaths(
	layout: FlatLayout,
	names: ResolvedNames,
	keys: readonly FlatKey[],
	form: ReadonlyMap<string, string>,
): ResolvedNames {
	const said = stringMap(form.get(`${layout.id}.paths`) ?? '{}');
	const naming = form.get(`${layout.id}.naming`);
	if (said.size === 0 && naming === undefined) return names;
	const byName = new Map(names.byName);
	for (const key of keys) {
		const text = said.get(flatName(key)) ?? '';
		const cut = text.indexOf(' ');
		const path = text.slice(cut + 1);
		if (cut > 0 && flattenPath(path) === key.flat)
			byName.set(flatName(key), { component: text.slice(0, cut), path, resolved: true, style: undefined });
	}
	return { ...names, naming: NAMINGS.find((n) => n === naming) ?? names.naming, byName };
}

const NAMINGS: readonly Naming[] = ['diffusers', 'bfl', 'sai', 'native'];

function prefixOf(layout: FlatLayout, name: string): string | undefined {
	const prefix = layout.prefixes.find((p) => name.startsWith(p) && name.charCodeAt(p.length) === 95);
	return prefix !== undefined && name.charCodeAt(prefix.length + 1) === 95 ? `${prefix}_` : prefix;
}

function leftovers(tensors: ReadonlyMap<string, Tensor>, keys: readonly FlatKey[], bundles: readonly string[]): Map<string, Tensor> {
	if (keys.length + bundles.length === tensors.size) return new Map();
	const known = new Set(bundles);
	for (const { key } of keys) known.add(key);
	const unknown = new Map<string, Tensor>();
	for (const [name, tensor] of tensors) if (!known.has(name)) unknown.set(name, tensor);
	return unknown;
}

function reportNames(modules: readonly TargetModule[], unknown: ReadonlyMap<string, Tensor>, warn: WarningSink): void {
	const unresolved = modules.filter((m) => !m.resolved);
	const [first] = unresolved;
	if (first !== undefined) {
		warn({
			code: 'W_UNRESOLVED',
			message: `${unresolved.length} of ${modules.length} module names fit no model that we have a table of (first: ${quote(first.path)}); they keep their flat names, --base can resolve them.`,
			at: first.path,
		});
	}
	const [extra] = unknown.keys();
	if (extra !== undefined) {
		warn({ code: 'W_UNKNOWN_KEY', message: `${unknown.size} names belong to no module (first: ${quote(extra)}).`, at: extra });
	}
	const flat = modules.filter((m) => m.component === 'unet' && m.factors.down?.shape.length === 2 && isConv(m.path));
	const [conv] = flat;
	if (conv !== undefined) {
		warn({
			code: 'W_CONV_2D',
			message: `${flat.length} convolutions have 2-D factors (first: ${conv.path}); readers reshape them only where the element count fits.`,
			at: conv.path,
		});
	}
}

const CONVOLUTIONS: ReadonlySet<string> = new Set(['conv_in', 'conv_out', 'conv1', 'conv2', 'conv_shortcut', 'conv']);

/** UNet modules that are 3x3 convolutions in every base; proj_in and proj_out depend on it. */
function isConv(path: string): boolean {
	const last = path.lastIndexOf('.') + 1;
	return path.startsWith('conv', last) && CONVOLUTIONS.has(path.slice(last));
}

/** Names as `encodeFlat` writes them under this form. */
function namer(
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
function describeNames(layout: FlatLayout, adapter: Adapter, runs: readonly NamedRun[], keys: readonly FlatKey[]): Map<string, string> {
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
