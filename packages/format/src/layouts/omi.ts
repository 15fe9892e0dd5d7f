import type { Adapter } from '../adapter.js';
import { quote, type Warning } from '../errors.js';
import { unpackMetadata } from '../metadata/carry.js';
import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';
import { assembleModules, type Part } from './assemble.js';
import { isBundle, parseBundles } from './bundle-embeddings.js';
import { hasOnlyFlatNames, keyTable } from './key-table.js';
import { describeAlphas, moduleId, parseAlphaForm, stringMap } from './kohya-alpha.js';
import { type LeafOptions, leafOutput, loseModule, writeLeaves } from './kohya-factors.js';
import { finishEncode, foreignForm } from './kohya-finish.js';
import { splitKohyaLeaf } from './kohya-keys.js';
import { nameContext } from './kohya-names.js';
import type { Encoded, EncodeOptions, Layout, LayoutInput } from './layout.js';
import type { LeafRole } from './leaves.js';
import { formatOmiName, type OmiFile, parseOmiName, surveyOmi, swapHalves, tableOf } from './omi-names.js';
import { makeAdapter } from './shared.js';

/**
 * The Open Model Initiative's interchange layout (OneTrainer, InvokeAI): the model's own dotted names with kohya's
 * leaves, `unet.input_blocks.1.1.proj_in.lora_down.weight`, `transformer.double_blocks.0.img_attn.qkv.0...`,
 * `clip_l...`, `clip_g...`, `t5...`, `bundle_emb...`. Source: Open-Model-Initiative/OMI-Model-Standards@16e78ee
 * src/omi_model_standards/convert/lora (SD, SDXL, SD3, Flux, Chroma). Its own converter drops what it does not
 * know; here unknown names stay unknown, and names it lacks are losses.
 *
 * Form: `omi.names` (JSON of module id -> name, for names that are not written in the usual way), `omi.dora`
 * (`flat`), `alpha.*` of kohya-alpha.ts.
 */
export const omi: Layout = {
	id: 'omi',
	title: 'Open Model Initiative (OneTrainer, InvokeAI)',
	aliases: ['open-model-initiative'],
	namings: ['diffusers'],
	readers: 'OneTrainer, InvokeAI',
	claim(input) {
		if (hasOnlyFlatNames(input.file)) return { names: new Set(), confidence: 0, evidence: [] };
		const survey = readNames(input.file);
		const names = new Set<string>();
		for (const { key } of survey.keys) names.add(key);
		if (names.size === 0) return { names, confidence: 0, evidence: [] };
		const modules = names.size;
		for (const key of survey.bundles) names.add(key);
		return { names, confidence: 1, evidence: [`${modules} names are OMI's: the model's own dotted names with kohya's leaves`] };
	},
	decode,
	encode,
};

const OMI_START = /^(?:unet|transformer|clip_l|clip_g|t5|llama)\./;

interface OmiKey {
	readonly key: string;
	readonly module: string;
	readonly role: LeafRole;
	readonly tensor: Tensor;
}

function readNames(file: StateDict): { readonly keys: readonly OmiKey[]; readonly bundles: readonly string[]; readonly survey: OmiFile } {
	const candidates: OmiKey[] = [];
	const bundles: string[] = [];
	for (const { key, tensor, split: plain } of keyTable(file)) {
		if (isBundle(key, tensor)) bundles.push(key);
		// Names that begin otherwise are none of this layout's.
		if (!OMI_START.test(key)) continue;
		const split = plain ?? splitKohyaLeaf(key, file);
		if (split === undefined || (split.leaf.style !== 'kohya' && split.leaf.style !== 'any')) continue;
		candidates.push({ key, module: split.module, role: split.leaf.role, tensor });
	}
	const survey = surveyOmi(new Set(candidates.map((c) => c.module)));
	return { keys: candidates.filter((c) => parseOmiName(c.module, survey) !== undefined), bundles, survey };
}

function decode(input: LayoutInput): Adapter {
	const warnings: Warning[] = [];
	const { file } = input;
	const { keys, bundles, survey } = readNames(file);
	const parts: Part[] = [];
	const nameOf = new Map<string, string>();
	for (const { key, module, role, tensor } of keys) {
		const name = parseOmiName(module, survey);
		if (name === undefined) continue;
		const swapped = role === 'up' && swaps(name.rule, tensor, file.tensors.get(`${module}.lora_down.weight`)) ? swapHalves(tensor) : tensor;
		nameOf.set(moduleId(name), module);
		parts.push({ key, component: name.component, path: name.path, resolved: true, role, tensor: swapped ?? tensor });
	}
	const modules = assembleModules(parts, { file, warn: (w) => void warnings.push(w), magnitude: 'kohya', expectAlpha: true });
	const unknown = new Map(file.tensors);
	for (const { key } of keys) unknown.delete(key);
	const { metadata, form: carried } = unpackMetadata(file.metadata);
	const { embeddings, names } = parseBundles(bundles, file.tensors, { t5: survey.t5 }, carried);
	for (const key of names) unknown.delete(key);
	const [extra] = unknown.keys();
	if (extra !== undefined) {
		warnings.push({ code: 'W_UNKNOWN_KEY', message: `${unknown.size} names belong to no module (first: ${quote(extra)}).`, at: extra });
	}
	const adapter = makeAdapter({ layout: 'omi', input, naming: 'diffusers', modules, metadata, warnings, embeddings, unknown });
	const form = foreignForm('omi', carried);
	const context = nameContext(modules, adapter.base.family, 'diffusers');
	const table = tableOf(modules);
	const odd = new Map<string, string>();
	for (const m of modules) {
		const name = nameOf.get(moduleId(m));
		if (name !== undefined && formatOmiName(m, context, table)?.name !== name) odd.set(moduleId(m), name);
	}
	if (odd.size > 0) form.set('omi.names', JSON.stringify(Object.fromEntries(odd)));
	if (modules.some((m) => m.magnitudeAxis === 'out' && m.factors.magnitude?.shape.length === 1)) form.set('omi.dora', 'flat');
	for (const [key, value] of describeAlphas(modules)) form.set(key, value);
	return { ...adapter, form };
}

function encode(adapter: Adapter, options: EncodeOptions): Encoded {
	const out = leafOutput();
	const leafOptions: LeafOptions = {
		target: 'omi',
		style: 'kohya',
		alphaForm: parseAlphaForm(adapter.form),
		alpha: options.alpha,
		flatMagnitude: adapter.form.get('omi.dora') === 'flat',
	};
	const context = nameContext(adapter.modules, adapter.base.family, adapter.naming);
	const table = adapter.naming === 'diffusers' ? tableOf(adapter.modules) : undefined;
	const names = stringMap(adapter.form.get('omi.names') ?? '{}');
	for (const module of adapter.modules) {
		const found = module.resolved ? formatOmiName(module, context, table) : undefined;
		if (found === undefined) {
			loseModule(out, module, `OMI has no name for ${module.component} ${module.path}.`);
			continue;
		}
		const { up, down } = module.factors;
		const mustSwap = up !== undefined && swaps(found.rule, up, down);
		const swapped = mustSwap ? swapHalves(up) : undefined;
		if ((mustSwap && (swapped === undefined || module.factors.magnitude !== undefined)) || (found.rule === 'swap' && up === undefined)) {
			loseModule(
				out,
				module,
				`OMI keeps scale and shift of ${module.path} the other way round, and only a plain LoRA can be changed round exactly.`,
			);
			continue;
		}
		const written = swapped === undefined ? module : { ...module, factors: { ...module.factors, up: swapped } };
		writeLeaves(out, written, names.get(moduleId(module)) ?? found.name, leafOptions);
	}
	return finishEncode(adapter, out, leafOptions, foreignForm('omi', adapter.form), options);
}

/** Whether rows have to be changed round: always for Flux' and SD3's final layer, by height for SD3's last context block. */
function swaps(rule: string, up: Tensor, down: Tensor | undefined): boolean {
	return rule === 'swap' || (rule === 'swap-if-two' && down !== undefined && up.shape[0] === 2 * (down.shape[1] ?? 0));
}
