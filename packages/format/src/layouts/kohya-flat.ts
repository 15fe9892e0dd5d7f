import type { Adapter, TargetModule } from '../adapter.js';
import { quote, type Warning, type WarningSink } from '../errors.js';
import { unpackMetadata } from '../metadata/carry.js';
import type { Tensor } from '../tensor.js';
import { assembleGroups, groupParts, type NamedPart } from './assemble.js';
import { parseBundles } from './bundle-embeddings.js';
import { isFullRank } from './full-rank.js';
import { describeAlphas, moduleId, parseAlphaForm } from './kohya-alpha.js';
import { type LeafOptions, leafOutput, loseModule, writeLeaves } from './kohya-factors.js';
import { finishEncode, foreignForm } from './kohya-finish.js';
import type { FlatLayout } from './kohya-flat-layout.js';
import { choosesOther, describeNames, describePaths, namer } from './kohya-flat-names.js';
import { namesOf, ofKeys } from './kohya-flat-resolve.js';
import { type FlatKey, readFlatKeys } from './kohya-keys.js';
import { defaultBlocks, defaultPrefix, resolveFlatNames } from './kohya-names.js';
import type { Claim, Encoded, EncodeOptions, LayoutInput } from './layout.js';
import { makeAdapter } from './shared.js';

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
