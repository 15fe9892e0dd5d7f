import { decodeDiffusers } from './diffusers-decode.js';
import { type DiffusersKey, readDiffusersKeys } from './diffusers-key.js';
import { todaySuffix } from './diffusers-names.js';
import { encodeOldDiffusers } from './diffusers-old-encode.js';
import { oldSpelling } from './diffusers-spelling.js';
import { hasOnlyFlatNames } from './key-table.js';
import type { Claim, Layout, LayoutInput } from './layout.js';

/**
 * diffusers 0.20 to 0.21, before PEFT (LAYOUTS §2.8, row 8): `unet.….to_q.lora.down.weight`,
 * `text_encoder.….q_proj.lora_linear_layer.down.weight`. No alpha: scaling 1.
 * Source: huggingface/diffusers tag v0.21.4 src/diffusers/loaders.py `save_lora_weights`.
 *
 * Form entry: `diffusers-old.format` = `none` (no `format` in the header).
 */
export const diffusersOld: Layout = {
	id: 'diffusers-old',
	title: 'diffusers 0.20 to 0.21',
	aliases: ['diffusers-0.21'],
	namings: ['diffusers'],
	readers: 'diffusers 0.20 to today; ComfyUI for text encoders',
	claim,
	decode: (input, options) => decodeDiffusers(input, options, { id: 'diffusers-old', accepts, saysAlpha: false, remember: () => {} }),
	encode: (adapter, options) =>
		encodeOldDiffusers(adapter, options, {
			id: 'diffusers-old',
			readers: 'diffusers 0.20 to 0.21',
			name: (module, role) => {
				if (module.component !== 'unet' && !module.component.startsWith('text_encoder')) return undefined;
				const suffix = todaySuffix(role, oldSpelling(module));
				return suffix === undefined ? undefined : `${module.component}.${module.path}${suffix}`;
			},
			rederived: [],
		}),
};

const NONE: ReadonlySet<string> = new Set();

function accepts(key: DiffusersKey): boolean {
	if (key.adapterName !== undefined || !/^(?:unet|text_encoder(?:_2)?)$/.test(key.prefix)) return false;
	return (key.spelling === 'lora' || key.spelling === 'linear') && (key.role === 'down' || key.role === 'up');
}

function claim(input: LayoutInput): Claim {
	if (hasOnlyFlatNames(input.file)) return { names: new Set(), confidence: 0, evidence: [] };
	const names = new Set<string>();
	const keys: DiffusersKey[] = [];
	for (const { name, key } of readDiffusersKeys(input.file, NONE)) {
		if (key === undefined || !accepts(key)) continue;
		names.add(name);
		keys.push(key);
	}
	if (names.size === 0 || input.file.metadata.has('lora_adapter_metadata')) return { names, confidence: 0, evidence: [] };
	const old = isOldLayout(keys);
	return {
		names,
		confidence: old.old ? 0.9 : 0.6,
		evidence: [`${names.size} names end in lora.down/up or lora_linear_layer, none in lora_A/lora_B`, old.why],
	};
}

/**
 * Which of the two eras a file without `lora_A/B` and without `lora_adapter_metadata` is from. Both readings give
 * every module scaling 1, so nothing hangs on it but the name. 0.20 to 0.21 set a LoRA on to_q, to_k, to_v and to_out of
 * every attention they touched, and could put one on other modules too; a choice among the four came with PEFT,
 * which in turn spells other modules `lora_A`.
 */
export function isOldLayout(keys: readonly DiffusersKey[]): { readonly old: boolean; readonly why: string } {
	const attentions = new Map<string, Set<string>>();
	let others = 0;
	for (const key of keys) {
		if (key.role === 'magnitude' || key.role === 'up_bias' || key.role === 'alpha') {
			return { old: false, why: `${key.role} came with PEFT` };
		}
		if (!/^(?:unet|text_encoder(?:_2)?)$/.test(key.prefix)) return { old: false, why: `the component ${key.prefix} came with PEFT` };
		const found = /^(.*)\.(to_q|to_k|to_v|to_out\.0|q_proj|k_proj|v_proj|out_proj)$/.exec(key.path);
		if (found === null) {
			others++;
			continue;
		}
		const attention = `${key.component}.${found[1] ?? ''}`;
		let seen = attentions.get(attention);
		if (seen === undefined) {
			seen = new Set();
			attentions.set(attention, seen);
		}
		seen.add(found[2] ?? '');
	}
	for (const [attention, seen] of attentions) {
		if (seen.size < 4) {
			return {
				old: false,
				why: `${attention} has ${[...seen].sort().join(', ')} alone, a choice that came with PEFT (0.22); 0.20 to 0.21 would read it the same`,
			};
		}
	}
	if (others > 0)
		return {
			old: true,
			why: `${others} names of other modules are spelled lora.down/up, which PEFT-backed releases write as lora_A/lora_B`,
		};
	return {
		old: true,
		why: 'every attention has q, k, v and out, as 0.20 to 0.21 always wrote; today\u2019s diffusers would read it the same',
	};
}
