import { type DiffusersFound, decodeDiffusers } from './diffusers-decode.js';
import { type DiffusersKey, processorModule, readDiffusersKeys, textTarget } from './diffusers-key.js';
import { todaySuffix } from './diffusers-names.js';
import { encodeOldDiffusers } from './diffusers-old-encode.js';
import { oldSpelling } from './diffusers-spelling.js';
import { hasOnlyFlatNames } from './key-table.js';
import type { Claim, Layout, LayoutInput } from './layout.js';
import { leafSuffix } from './leaves.js';

/**
 * diffusers 0.17 to 0.19 (LAYOUTS §2.8): `unet.` in front of attention processors, and a text encoder in one of three
 * spellings: (a) four LoRAs on each projection, of which one was ever called (the others are dead); (b)
 * `self_attn.to_q_lora`; (c) `q_proj.lora_linear_layer`, with `text_projection.lora` (d). No alpha: scaling 1.
 * Source: huggingface/diffusers PR #2918, PR #3437; tags v0.17.0 to v0.19.3 src/diffusers/loaders.py.
 *
 * Form entries: `diffusers-old-prefixed.text` = `a` or `b` (c is written by itself; of a, the live quarter);
 * `diffusers-old-prefixed.format` = `none`.
 */
export const diffusersOldPrefixed: Layout = {
	id: 'diffusers-old-prefixed',
	title: 'diffusers 0.17 to 0.19 (prefixed attention processors)',
	aliases: ['diffusers-0.17'],
	namings: ['diffusers'],
	readers: 'diffusers 0.17 to today; ComfyUI for the UNet',
	claim,
	decode: (input, options) => decodeDiffusers(input, options, { id: 'diffusers-old-prefixed', accepts, saysAlpha: false, remember }),
	encode: (adapter, options) => {
		const text = adapter.form.get(TEXT_FORM);
		return encodeOldDiffusers(adapter, options, {
			id: 'diffusers-old-prefixed',
			readers: 'diffusers 0.17 to 0.19',
			name: (module, role) => {
				const { component, path } = module;
				const old = leafSuffix(role, 'processor');
				if (component === 'unet') {
					const processor = processorModule(path);
					return processor === undefined || old === undefined ? undefined : `unet.${processor}${old}`;
				}
				if (!component.startsWith('text_encoder')) return undefined;
				const which = textTarget(path);
				if (text === 'a' && which !== undefined) return `${component}.${path}.${which}${old}`;
				if (text === 'b' && which !== undefined) return `${component}.${path.slice(0, path.lastIndexOf('.'))}.${which}${old}`;
				return `${component}.${path}${todaySuffix(role, oldSpelling(module))}`;
			},
			rederived: [TEXT_FORM],
		});
	},
};

const TEXT_FORM = 'diffusers-old-prefixed.text';

const NONE: ReadonlySet<string> = new Set();

function accepts(key: DiffusersKey): boolean {
	if (key.adapterName !== undefined || (key.role !== 'down' && key.role !== 'up')) return false;
	if (key.prefix === 'unet') return key.spelling === 'processor' || key.spelling === 'lora';
	return /^text_encoder(?:_2)?$/.test(key.prefix) && key.spelling !== 'peft' && key.spelling !== 'any' && key.spelling !== 'processor';
}

function remember(found: DiffusersFound, form: Map<string, string>): void {
	if (found.all.some((key) => key.spelling === 'te-four')) form.set(TEXT_FORM, 'a');
	else if (found.all.some((key) => key.spelling === 'te-attention')) form.set(TEXT_FORM, 'b');
}

function claim(input: LayoutInput): Claim {
	if (hasOnlyFlatNames(input.file)) return { names: new Set(), confidence: 0, evidence: [] };
	const names = new Set<string>();
	let processors = 0;
	let text = 0;
	for (const { name, key } of readDiffusersKeys(input.file, NONE)) {
		if (key === undefined || !accepts(key)) continue;
		names.add(name);
		if (key.spelling === 'processor') processors++;
		else if (key.spelling === 'te-four' || key.spelling === 'te-attention') text++;
	}
	if (processors + text === 0) return { names, confidence: names.size === 0 ? 0 : 0.2, evidence: [] };
	const evidence: string[] = [];
	if (processors > 0) evidence.push(`${processors} names begin with unet. and hold .processor.to_*_lora.`);
	if (text > 0) evidence.push(`${text} names of the text encoder hold to_*_lora`);
	return { names, confidence: 0.97, evidence };
}
