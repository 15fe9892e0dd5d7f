import type { Adapter, TargetModule } from '../adapter.js';
import { quote, type Warning } from '../errors.js';
import { unpackMetadata } from '../metadata/carry.js';
import { FLUX_NAMES } from '../modules/index.js';
import { ofNames } from '../name-lists.js';
import type { StateDict } from '../state-dict.js';
import { originsOf, type Tensor } from '../tensor.js';
import { assembleModules, type Part } from './assemble.js';
import { splitNamesOf } from './key-table.js';
import { parseAlphaForm } from './kohya-alpha.js';
import { factorsOf, leafOutput, loseModule } from './kohya-factors.js';
import { finishEncode } from './kohya-finish.js';
import type { Claim, Encoded, EncodeOptions, Layout, LayoutInput } from './layout.js';
import { type LeafRole, leafSuffix, splitLeaf } from './leaves.js';
import { isUnscaled, makeAdapter } from './shared.js';

/**
 * Black Forest Labs' own control LoRAs (Canny, Depth): bare BFL names with PEFT's leaves and biases, whole norm
 * scales, and an `img_in` that is wider than the base's (LAYOUTS.md §2.12). The norm scales replace the base's
 * values, so they are `set_weight` of their module. No alpha: scaling 1.
 */
export const bflControl: Layout = {
	id: 'bfl-control',
	title: 'Black Forest Labs control LoRA (Canny, Depth)',
	aliases: [],
	namings: ['bfl'],
	readers: 'BFL flux, ComfyUI, InvokeAI; diffusers converts it when loading',
	claim(input) {
		const names = new Set<string>();
		let decisive = 0;
		if (!mayBeControl(input.file)) return NOTHING;
		for (const key of input.file.tensors.keys()) {
			const parsed = parse(key);
			if (parsed === undefined) continue;
			names.add(key);
			if (parsed.role === 'set_weight' || parsed.role === 'up_bias') decisive++;
		}
		// Bare BFL names without these are an ordinary LoRA: native-dotted.
		if (decisive === 0) return NOTHING;
		return { names, confidence: 0.9, evidence: [`${names.size} names are bare BFL names, ${decisive} of them biases and norm scales`] };
	},
	decode,
	encode,
};

const mayBeControl = ofNames((list) =>
	splitNamesOf(list).splits.some((split) => split?.leaf.role === 'scale' || split?.leaf.role === 'up_bias'),
);

const NOTHING: Claim = { names: new Set(), confidence: 0, evidence: [] };

function parse(key: string): { readonly path: string; readonly role: LeafRole } | undefined {
	const split = splitLeaf(key);
	if (split === undefined) return undefined;
	const { role, style } = split.leaf;
	if ((role !== 'scale' && style !== 'peft') || FLUX_NAMES.byNative(split.module) === undefined) return undefined;
	if (role === 'scale') return split.module.endsWith('_norm') ? { path: split.module, role: 'set_weight' } : undefined;
	return style === 'peft' && (role === 'down' || role === 'up' || role === 'up_bias') ? { path: split.module, role } : undefined;
}

function decode(input: LayoutInput): Adapter {
	const { file } = input;
	const warnings: Warning[] = [];
	const parts: Part[] = [];
	const unknown = new Map<string, Tensor>();
	for (const [key, tensor] of file.tensors) {
		const parsed = parse(key);
		if (parsed === undefined) unknown.set(key, tensor);
		else parts.push({ key, component: 'transformer', path: parsed.path, resolved: true, role: parsed.role, tensor });
	}
	const modules = assemble(parts, file, warnings);
	const [extra] = unknown.keys();
	if (extra !== undefined)
		warnings.push({ code: 'W_UNKNOWN_KEY', message: `${unknown.size} names belong to no module (first: ${quote(extra)}).`, at: extra });
	const { metadata, form } = unpackMetadata(file.metadata);
	return makeAdapter({ layout: 'bfl-control', input, naming: 'bfl', modules, metadata, warnings, form, unknown });
}

function assemble(parts: readonly Part[], file: StateDict, warnings: Warning[]): TargetModule[] {
	return assembleModules(parts, { file, warn: (w) => void warnings.push(w), expectAlpha: false });
}

function encode(adapter: Adapter, options: EncodeOptions): Encoded {
	const out = leafOutput();
	for (const module of adapter.modules) {
		const factors = factorsOf(module);
		const suffixes = factors.map(([role]) => (role === 'set_weight' && module.path.endsWith('_norm') ? '.scale' : leafOf(role)));
		if (module.component !== 'transformer' || FLUX_NAMES.byNative(module.path) === undefined || suffixes.includes(undefined)) {
			loseModule(out, module, `BFL's control readers would not load ${module.component} ${module.path} (family ${module.family}).`);
		} else if (!isUnscaled(module)) {
			loseModule(out, module, `bfl-control has no place for alpha, and ${module.path} has scaling ${module.scaling}; use --alpha fold.`);
		} else {
			for (const [n, [, tensor]] of factors.entries()) out.tensors.set(`${module.path}${suffixes[n] ?? ''}`, tensor);
			if (module.alphaTensor !== undefined)
				for (const from of originsOf(module.alphaTensor)) out.absorbed.push({ from, into: 'factors', errorBound: 0 });
		}
	}
	return finishEncode(
		adapter,
		out,
		{ target: 'bfl-control', style: 'peft', alphaForm: parseAlphaForm(new Map()), alpha: options.alpha },
		adapter.form,
		options,
	);
}

function leafOf(role: LeafRole): string | undefined {
	return role === 'down' || role === 'up' || role === 'up_bias' ? leafSuffix(role, 'peft') : undefined;
}
