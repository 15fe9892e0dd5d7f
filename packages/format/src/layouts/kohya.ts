import type { Naming } from '../adapter.js';
import { claimFlat, decodeFlat, encodeFlat, KOHYA_RULES } from './kohya-flat.js';
import type { FlatLayout } from './kohya-flat-layout.js';
import { KOHYA_PREFIXES } from './kohya-keys.js';
import { checkKohyaMetadata } from './kohya-metadata.js';
import type { Layout } from './layout.js';

/** sd-scripts' own names of the transformers it trains, which ComfyUI and Forge read too (LAYOUTS.md §2.5). */
const KOHYA_NAMING: ReadonlyMap<string, Naming> = new Map<string, Naming>([
	['flux', 'bfl'],
	['chroma', 'bfl'],
	['sd3', 'sai'],
]);

const KOHYA: FlatLayout = {
	id: 'kohya',
	prefixes: KOHYA_PREFIXES,
	...KOHYA_RULES,
	naming: (family) => KOHYA_NAMING.get(family),
	check: checkKohyaMetadata,
};

/**
 * kohya's sd-scripts, and with them LyCORIS, musubi-tuner, A1111, ComfyUI, ai-toolkit (SD1, SDXL) and OneTrainer:
 * `lora_unet_down_blocks_0_attentions_0_..._attn1_to_q.lora_down.weight`, alpha as a tensor per module, metadata
 * `ss_*`. Sources: kohya-ss/sd-scripts@48d368f networks/lora.py, KohakuBlueleaf/LyCORIS@f49d30d; LAYOUTS.md §2.3
 * to 2.6, 2.14. Form entries: `kohya-flat.ts`, `kohya-alpha.ts`.
 *
 * Not expressible: PEFT's OFT, BOFT, IA3 (its vector would have to be changed in value), embedding LoRA,
 * `modules_to_save`, `lora_bias`; LoKr of PEFT with both factors full and a scaling other than 1.
 */
export const kohya: Layout = {
	id: 'kohya',
	title: "kohya's sd-scripts and LyCORIS (A1111, ComfyUI)",
	aliases: ['a1111', 'comfy', 'lora-kohya'],
	namings: [],
	flat: true,
	naming: (adapter) =>
		adapter.source.layout === 'kohya' || adapter.form.get('kohya.naming') === adapter.naming
			? undefined
			: KOHYA_NAMING.get(adapter.base.family),
	readers: 'A1111, ComfyUI, Forge, SD.Next, sd-scripts, sd.cpp; diffusers converts it when loading',
	claim: (input) => claimFlat(KOHYA, input),
	decode: (input) => decodeFlat(KOHYA, input),
	encode: (adapter, options) => encodeFlat(KOHYA, adapter, options),
};
