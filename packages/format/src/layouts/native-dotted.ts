import type { Adapter, Naming } from '../adapter.js';
import { quote, type Warning } from '../errors.js';
import { unpackMetadata } from '../metadata/carry.js';
import { canonicalTextEncoderPath, diffusersToSgm, isUnetPath, sgmToDiffusers, transformerDialect } from '../modules/index.js';
import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';
import { assembleModules, type Part } from './assemble.js';
import { isBundle, parseBundles } from './bundle-embeddings.js';
import { isFullRank } from './full-rank.js';
import { hasOnlyFlatNames, keyTable } from './key-table.js';
import { describeAlphas, moduleId, parseAlphaForm, stringMap } from './kohya-alpha.js';
import { type LeafOptions, leafOutput, loseModule, writeLeaves } from './kohya-factors.js';
import { finishEncode, foreignForm } from './kohya-finish.js';
import { splitKohyaLeaf } from './kohya-keys.js';
import { nameContext } from './kohya-names.js';
import type { Claim, Encoded, EncodeOptions, Layout, LayoutInput } from './layout.js';
import type { LeafRole, LeafStyle } from './leaves.js';
import { makeAdapter } from './shared.js';

/**
 * The model's own dotted names, most often behind `diffusion_model.`: ComfyUI's generic form, BFL's PEFT files,
 * ai-toolkit's video models, Wan, HunyuanVideo, Qwen, Z-Image (LAYOUTS.md §2.12, 2.13, 2.15), and OneTrainer's
 * hybrid of dotted diffusers paths with kohya's leaves (§2.14). Leaves of kohya or PEFT, alpha as tensors or none.
 *
 * Form: `native-dotted.prefix` (JSON of component -> prefix, '' for none), `native-dotted.leaves`,
 * `native-dotted.magnitude` (leaf of DoRA's magnitude),
 * `native-dotted.fullrank` (`yes`: ai-toolkit's full differences), `native-dotted.bare` (`yes`: leaves without `.weight`),
 * `native-dotted.names` (JSON of module id -> name), `alpha.*` of kohya-alpha.ts.
 */
export const nativeDotted: Layout = {
	id: 'native-dotted',
	title: "the model's own dotted names (ComfyUI, ai-toolkit, Wan, Hunyuan, Qwen, Z-Image)",
	aliases: ['native'],
	namings: [],
	readers: 'ComfyUI, ai-toolkit, musubi-tuner; diffusers converts many of them when loading',
	claim,
	decode,
	encode,
};

/** Prefixes with the component they say; `diffusion_model` may be a UNet or a transformer. Longest first. */
const PREFIXES: readonly (readonly [prefix: string, component: string])[] = [
	['model.diffusion_model', 'denoiser'],
	['diffusion_model', 'denoiser'],
	['transformer', 'transformer'],
	['unet', 'unet'],
	['text_encoder', 'text_encoder'],
	['text_encoder_2', 'text_encoder_2'],
	['text_encoder_3', 'text_encoder_3'],
];

const STYLES: ReadonlySet<LeafStyle> = new Set<LeafStyle>(['kohya', 'any', 'peft', 'ai-toolkit', 'diffusers']);

interface DottedKey {
	readonly key: string;
	readonly prefix: string;
	readonly component: string;
	readonly rest: string;
	readonly role: LeafRole;
	readonly style: LeafStyle;
	readonly suffix: string;
	readonly tensor: Tensor;
}

function readKeys(file: StateDict): { readonly keys: readonly DottedKey[]; readonly bundles: readonly string[] } {
	const keys: DottedKey[] = [];
	const bare: DottedKey[] = [];
	const bundles: string[] = [];
	for (const { key, tensor, split: plain } of keyTable(file)) {
		// Flat names are no transformer's.
		if (key.startsWith('lora_') || key.startsWith('lycoris_')) continue;
		if (isBundle(key, tensor)) {
			bundles.push(key);
			continue;
		}
		const split = plain ?? splitKohyaLeaf(key, file);
		if (split === undefined || !STYLES.has(split.leaf.style) || split.module.includes('.processor.')) continue;
		const { module, leaf } = split;
		const found = PREFIXES.find(([p]) => module.startsWith(`${p}.`));
		const [prefix, component] = found ?? ['', 'denoiser'];
		const rest = prefix === '' ? module : module.slice(prefix.length + 1);
		if (rest.startsWith('base_model.')) continue;
		(prefix === '' ? bare : keys).push({ key, prefix, component, rest, role: leaf.role, style: leaf.style, suffix: leaf.suffix, tensor });
	}
	// Names without a prefix count only where they are some transformer's.
	const dialect = bare.length === 0 ? undefined : transformerDialect(new Set(bare.map((k) => k.rest)));
	for (const key of bare) if (dialect?.paths.has(key.rest) === true) keys.push(key);
	return { keys, bundles };
}

function claim(input: LayoutInput): Claim {
	if (hasOnlyFlatNames(input.file)) return { names: new Set(), confidence: 0, evidence: [] };
	const { keys, bundles } = readKeys(input.file);
	const names = new Set<string>();
	const counts = new Map<string, number>();
	for (const { key, prefix } of keys) {
		names.add(key);
		counts.set(prefix, (counts.get(prefix) ?? 0) + 1);
	}
	if (names.size === 0) return { names, confidence: 0, evidence: [] };
	for (const key of bundles) names.add(key);
	// `transformer.X.lora_A` alone is diffusers'; kohya's or ai-toolkit's leaves behind it are not.
	const generic = (counts.get('diffusion_model') ?? 0) + (counts.get('model.diffusion_model') ?? 0) > 0;
	const foreign = keys.some(
		(k) => k.style === 'ai-toolkit' || (k.prefix !== '' && k.style === 'kohya') || (k.prefix === 'transformer' && isLycoris(k)),
	);
	const evidence = [...counts].map(([prefix, n]) => `${n} names begin with ${prefix === '' ? "a transformer's module" : `${prefix}.`}`);
	return { names, confidence: generic ? 1 : foreign ? 0.7 : 0.2, evidence };
}

function decode(input: LayoutInput): Adapter {
	const warnings: Warning[] = [];
	const { file } = input;
	const { keys, bundles } = readKeys(file);
	const rests = new Set(keys.filter((k) => k.component === 'denoiser' || k.component === 'transformer').map((k) => k.rest));
	const isUnet = rests.size > 0 && [...rests].every((rest) => sgmToDiffusers(rest) !== undefined || isUnetPath(rest));
	const dialect = isUnet ? undefined : transformerDialect(rests);
	const naming: Naming = rests.size === 0 || isUnet ? 'diffusers' : (dialect?.naming ?? 'native');
	const parts: Part[] = [];
	const fullRank = isFullRank(file);
	const nameOf = new Map<string, string>();
	for (const k of keys) {
		const { component, path } = place(k, isUnet);
		nameOf.set(moduleId({ component, path }), k.prefix === '' ? k.rest : `${k.prefix}.${k.rest}`);
		parts.push({ key: k.key, component, path, resolved: true, role: fullRank && k.role === 'down' ? 'diff' : k.role, tensor: k.tensor });
	}
	const magnitude = keys.find((k) => k.role === 'magnitude')?.suffix;
	const modules = assembleModules(parts, {
		file,
		warn: (w) => void warnings.push(w),
		magnitude: magnitude === undefined || magnitude === '.dora_scale' ? 'kohya' : 'peft',
		expectAlpha: keys.some((k) => k.role === 'alpha'),
	});
	const unknown = new Map(file.tensors);
	for (const { key } of keys) unknown.delete(key);
	const { metadata, form: carried } = unpackMetadata(file.metadata);
	const { embeddings, names } = parseBundles(bundles, file.tensors, { t5: 'text_encoder_2' }, carried);
	for (const key of names) unknown.delete(key);
	const [extra] = unknown.keys();
	if (extra !== undefined) {
		warnings.push({ code: 'W_UNKNOWN_KEY', message: `${unknown.size} names belong to no module (first: ${quote(extra)}).`, at: extra });
	}
	const adapter = makeAdapter({ layout: 'native-dotted', input, naming, modules, metadata, warnings, embeddings, unknown });
	const form = foreignForm('native-dotted', carried);
	const prefixes = new Map<string, string>();
	for (const k of keys) {
		const { component } = place(k, isUnet);
		if (!prefixes.has(component)) prefixes.set(component, k.prefix);
	}
	const unusual = [...prefixes].filter(([component, prefix]) => defaultPrefix(component, naming) !== prefix);
	if (unusual.length > 0) form.set('native-dotted.prefix', JSON.stringify(Object.fromEntries(unusual)));
	const style = keys.find((k) => k.role === 'down')?.style;
	if (style === 'kohya' || style === 'diffusers') form.set('native-dotted.leaves', style);
	if (fullRank) form.set('native-dotted.fullrank', 'yes');
	if (keys.some((k) => k.suffix === '.lora_A')) form.set('native-dotted.bare', 'yes');
	if (magnitude !== undefined && magnitude !== '.dora_scale') form.set('native-dotted.magnitude', magnitude);
	const regenerate = namer({ ...adapter, form });
	const odd = new Map<string, string>();
	for (const m of modules) {
		const name = nameOf.get(moduleId(m));
		if (name !== undefined && regenerate(m) !== name) odd.set(moduleId(m), name);
	}
	if (odd.size > 0) form.set('native-dotted.names', JSON.stringify(Object.fromEntries(odd)));
	for (const [key, value] of describeAlphas(modules)) form.set(key, value);
	return { ...adapter, form };
}

/** LoHa's and LoKr's factors: diffusers writes none for its transformers, ai-toolkit does. */
function isLycoris(key: DottedKey): boolean {
	return key.style === 'any' && key.role !== 'alpha';
}

function place(key: DottedKey, isUnet: boolean): { readonly component: string; readonly path: string } {
	if (key.component.startsWith('text_encoder'))
		return { component: key.component, path: canonicalTextEncoderPath(key.rest)?.path ?? key.rest };
	if (key.component === 'unet' || (isUnet && key.component === 'denoiser'))
		return { component: 'unet', path: sgmToDiffusers(key.rest) ?? key.rest };
	return { component: 'transformer', path: key.rest };
}

function defaultPrefix(component: string, naming: Naming): string {
	if (component === 'unet') return 'diffusion_model';
	if (component === 'transformer') return naming === 'diffusers' ? 'transformer' : 'diffusion_model';
	return component;
}

function namer(adapter: Adapter): (module: { readonly component: string; readonly path: string }) => string {
	const context = nameContext(adapter.modules, adapter.base.family, adapter.naming);
	const prefixes = stringMap(adapter.form.get('native-dotted.prefix') ?? '{}');
	const names = stringMap(adapter.form.get('native-dotted.names') ?? '{}');
	return (module) => {
		const exact = names.get(moduleId(module));
		if (exact !== undefined) return exact;
		const prefix = prefixes.get(module.component) ?? defaultPrefix(module.component, adapter.naming);
		const sgm = module.component === 'unet' && prefix.endsWith('diffusion_model') ? diffusersToSgm(module.path, context) : undefined;
		return prefix === '' ? module.path : `${prefix}.${sgm ?? module.path}`;
	};
}

function encode(adapter: Adapter, options: EncodeOptions): Encoded {
	const { form } = adapter;
	const out = leafOutput();
	const leaves = form.get('native-dotted.leaves');
	const magnitude = form.get('native-dotted.magnitude');
	const leafOptions: LeafOptions = {
		target: 'native-dotted',
		style: leaves === 'kohya' || leaves === 'diffusers' ? leaves : 'peft',
		alphaForm: parseAlphaForm(form),
		alpha: options.alpha,
		fullRank: form.get('native-dotted.fullrank') === 'yes',
		bare: form.get('native-dotted.bare') === 'yes',
		magnitudeLeaf:
			magnitude === '.magnitude' || magnitude === '.lora_magnitude_vector' || magnitude === '.lora_magnitude_vector.weight'
				? magnitude
				: '.dora_scale',
	};
	const name = namer(adapter);
	// What we write must be read as what it is: dotted names of a text encoder alone are the diffusers layout.
	const textOnly = adapter.source.layout !== 'native-dotted' && adapter.modules.every((m) => m.component.startsWith('text_encoder'));
	for (const module of adapter.modules) {
		if (textOnly)
			loseModule(out, module, 'the dotted names of a text encoder alone are those of the diffusers layout; write --to diffusers.');
		else writeLeaves(out, module, name(module), leafOptions);
	}
	return finishEncode(adapter, out, leafOptions, foreignForm('native-dotted', form), options);
}
