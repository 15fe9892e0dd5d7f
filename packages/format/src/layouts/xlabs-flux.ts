import type { Adapter } from '../adapter.js';
import { unpackMetadata } from '../metadata/carry.js';
import type { StateDict } from '../state-dict.js';
import { originsOf, type Tensor } from '../tensor.js';
import { assembleModules, type Part } from './assemble.js';
import { hasOnlyFlatNames } from './key-table.js';
import { parseAlphaForm } from './kohya-alpha.js';
import { leafOutput, loseModule } from './kohya-factors.js';
import { finishEncode } from './kohya-finish.js';
import type { Encoded, EncodeOptions, Layout, LayoutInput } from './layout.js';
import { isUnscaled, makeAdapter } from './shared.js';

/**
 * XLabs' Flux trainer, and USO: `double_blocks.0.processor.qkv_lora1.down.weight` (1 image, 2 text),
 * `single_blocks.0.processor.qkv_lora.up.weight`. No alpha: scaling 1. The single blocks' `qkv_lora` covers the
 * first three quarters of the attention rows of `linear1` only (rows 0..3h), which ComfyUI calls `linear1_qkv`;
 * `proj_lora` is `linear2`. Source: LAYOUTS.md §2.12, §2.20.
 */
export const xlabsFlux: Layout = {
	id: 'xlabs-flux',
	title: "XLabs' Flux trainer",
	aliases: ['xlabs'],
	namings: ['bfl'],
	readers: 'x-flux, ComfyUI, InvokeAI; diffusers converts it when loading',
	claim(input) {
		if (hasOnlyFlatNames(input.file)) return { names: new Set(), confidence: 0, evidence: [] };
		const names = new Set<string>();
		for (const key of input.file.tensors.keys()) if (parse(key) !== undefined) names.add(key);
		return {
			names,
			confidence: names.size === 0 ? 0 : 1,
			evidence: names.size === 0 ? [] : [`${names.size} names are double_blocks.N.processor.*_lora or single_blocks.N.processor.*_lora`],
		};
	},
	decode,
	encode,
};

const NAME = /^((?:diffusion_model\.)?)(double|single)_blocks\.(0|[1-9]\d{0,5})\.processor\.(qkv|proj)_lora([12]?)\.(down|up)\.weight$/;

interface XlabsName {
	readonly prefix: string;
	readonly path: string;
	readonly role: 'down' | 'up';
}

function parse(key: string): XlabsName | undefined {
	const match = key.includes('.processor.') ? NAME.exec(key) : null;
	if (match === null) return undefined;
	const [, prefix = '', kind = '', block = '', part = '', stream = '', role = ''] = match;
	// Double blocks have two streams, single blocks one.
	if ((kind === 'double') !== (stream !== '')) return undefined;
	const path =
		kind === 'double'
			? `double_blocks.${block}.${stream === '1' ? 'img' : 'txt'}_attn.${part}`
			: `single_blocks.${block}.${part === 'qkv' ? 'linear1_qkv' : 'linear2'}`;
	return { prefix, path, role: role === 'down' ? 'down' : 'up' };
}

function decode(input: LayoutInput): Adapter {
	const { file } = input;
	const parts: Part[] = [];
	const unknown = new Map<string, Tensor>();
	let prefix = '';
	for (const [key, tensor] of file.tensors) {
		const name = parse(key);
		if (name === undefined) {
			unknown.set(key, tensor);
			continue;
		}
		prefix = name.prefix;
		parts.push({ key, component: 'transformer', path: name.path, resolved: true, role: name.role, tensor });
	}
	return makeXlabs(input, file, parts, unknown, prefix);
}

function makeXlabs(
	input: LayoutInput,
	file: StateDict,
	parts: readonly Part[],
	unknown: ReadonlyMap<string, Tensor>,
	prefix: string,
): Adapter {
	const warnings: Adapter['warnings'][number][] = [];
	const modules = assembleModules(parts, { file, warn: (w) => void warnings.push(w), expectAlpha: false });
	const [extra] = unknown.keys();
	if (extra !== undefined)
		warnings.push({ code: 'W_UNKNOWN_KEY', message: `${unknown.size} names are not XLabs' (first: ${JSON.stringify(extra)}).`, at: extra });
	const { metadata, form: carried } = unpackMetadata(file.metadata);
	const form = new Map([...carried].filter(([key]) => !key.startsWith('xlabs-flux.')));
	if (prefix !== '') form.set('xlabs-flux.prefix', prefix);
	return makeAdapter({ layout: 'xlabs-flux', input, naming: 'bfl', modules, metadata, warnings, form, unknown });
}

const PATH = /^(double|single)_blocks\.(\d{1,6})\.(?:(img|txt)_attn\.(qkv|proj)|(linear1_qkv|linear2))$/;

function nameOf(path: string): string | undefined {
	const match = PATH.exec(path);
	if (match === null) return undefined;
	const [, kind, block, stream, part, single] = match;
	if ((kind === 'double') !== (stream !== undefined)) return undefined;
	const leaf = stream === undefined ? (single === 'linear2' ? 'proj_lora' : 'qkv_lora') : `${part}_lora${stream === 'img' ? 1 : 2}`;
	return `${kind}_blocks.${block}.processor.${leaf}`;
}

function encode(adapter: Adapter, options: EncodeOptions): Encoded {
	const out = leafOutput();
	const prefix = adapter.form.get('xlabs-flux.prefix') === 'diffusion_model.' ? 'diffusion_model.' : '';
	for (const module of adapter.modules) {
		const name = module.component === 'transformer' ? nameOf(module.path) : undefined;
		const { down, up, ...others } = module.factors;
		if (name === undefined || down === undefined || up === undefined || Object.keys(others).length > 0) {
			loseModule(
				out,
				module,
				`x-flux' readers know only plain LoRA of qkv and proj; they would not load ${module.component} ${module.path} (family ${module.family}).`,
			);
		} else if (!isUnscaled(module)) {
			loseModule(out, module, `xlabs-flux has no place for alpha, and ${module.path} has scaling ${module.scaling}; use --alpha fold.`);
		} else {
			out.tensors.set(`${prefix}${name}.down.weight`, down);
			out.tensors.set(`${prefix}${name}.up.weight`, up);
			if (module.alphaTensor !== undefined)
				for (const from of originsOf(module.alphaTensor)) out.absorbed.push({ from, into: 'factors', errorBound: 0 });
		}
	}
	const form = new Map([...adapter.form].filter(([key]) => !key.startsWith('xlabs-flux.')));
	return finishEncode(
		adapter,
		out,
		{ target: 'xlabs-flux', style: 'kohya', alphaForm: parseAlphaForm(new Map()), alpha: options.alpha },
		form,
		options,
	);
}
