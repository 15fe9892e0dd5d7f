import type { TargetModule } from '../adapter.js';
import { decodeDiffusers } from './diffusers-decode.js';
import { type DiffusersKey, processorModule, readDiffusersKeys } from './diffusers-key.js';
import { groupInto } from './diffusers-losses.js';
import { encodeOldDiffusers } from './diffusers-old-encode.js';
import { hasOnlyFlatNames } from './key-table.js';
import type { Claim, Encoded, Layout, LayoutInput } from './layout.js';
import { leafSuffix } from './leaves.js';

/**
 * diffusers 0.12 to 0.16, `unet.save_attn_procs` (LAYOUTS §2.7): `….attn1.processor.to_q_lora.down.weight`, no
 * component in front, the UNet's attention alone (`to_out_lora` is the module `to_out.0`). No alpha: scaling 1.
 * Source: huggingface/diffusers tag v0.16.1 src/diffusers/loaders.py `save_attn_procs`, models/attention_processor.py.
 *
 * Form entry: `diffusers-attn-procs.format` = `none` (no `format` in the header; these releases wrote one).
 */
export const diffusersAttnProcs: Layout = {
	id: 'diffusers-attn-procs',
	title: 'diffusers attention processors, 0.12 to 0.16',
	aliases: ['attn-procs'],
	namings: ['diffusers'],
	readers: 'diffusers 0.12 to today (load_attn_procs; load_lora_weights of today loads nothing of it); ComfyUI',
	claim,
	decode: (input, options) =>
		decodeDiffusers(input, options, { id: 'diffusers-attn-procs', accepts, saysAlpha: false, remember: () => {} }),
	encode: (adapter, options): Encoded => {
		const encoded = encodeOldDiffusers(adapter, options, {
			id: 'diffusers-attn-procs',
			readers: 'diffusers 0.12 to 0.16, which adapt the attention of the UNet alone',
			name: (module, role) => {
				const processor = module.component === 'unet' ? processorModule(module.path) : undefined;
				const suffix = leafSuffix(role, 'processor');
				return processor === undefined || suffix === undefined ? undefined : processor + suffix;
			},
			rederived: [],
		});
		const uneven = unevenAttention(adapter.modules);
		if (uneven === undefined) return encoded;
		const message = `${uneven}; diffusers 0.12 to 0.16 load a file only when every attention has all four at one rank. Later releases and ComfyUI read it.`;
		return { ...encoded, warnings: [...encoded.warnings, { code: 'W_RUNTIMES_DIFFER', message }] };
	},
};

const NONE: ReadonlySet<string> = new Set();

function accepts(key: DiffusersKey): boolean {
	return key.prefix === '' && key.spelling === 'processor';
}

function claim(input: LayoutInput): Claim {
	if (hasOnlyFlatNames(input.file)) return { names: new Set(), confidence: 0, evidence: [] };
	const names = new Set<string>();
	for (const { name, key } of readDiffusersKeys(input.file, NONE)) {
		if (key !== undefined && accepts(key)) names.add(name);
	}
	if (names.size === 0) return { names, confidence: 0, evidence: [] };
	return { names, confidence: 1, evidence: [`${names.size} names hold .processor.to_*_lora. and no component in front`] };
}

/** The first attention that lacks one of its four projections or mixes ranks. */
function unevenAttention(modules: readonly TargetModule[]): string | undefined {
	const ranks = new Map<string, number[]>();
	for (const m of modules) {
		const processor = m.component === 'unet' ? processorModule(m.path) : undefined;
		if (processor === undefined) continue;
		const attention = processor.slice(0, processor.lastIndexOf('.processor.'));
		groupInto(ranks, attention, m.rank ?? 0);
	}
	for (const [attention, own] of ranks) {
		if (own.length < 4) return `${attention} has ${own.length} of to_q, to_k, to_v, to_out`;
		if (new Set(own).size > 1) return `${attention} mixes ranks ${[...new Set(own)].join(', ')}`;
	}
	return undefined;
}
