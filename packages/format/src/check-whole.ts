import type { Adapter } from './adapter.js';
import { fileKey, readsLeaf } from './check-leaves.js';
import type { CheckTarget } from './check-names.js';
import { quote } from './errors.js';
import type { LayoutInput } from './layouts/layout.js';

const KOHYA_PREFIXES: readonly string[] = ['lora_te_', 'lora_unet_', 'lora_te1_', 'lora_te2_'];

/**
 * Why a reader refuses the file as a whole, as one sentence; undefined when it goes by modules.
 * Sources: huggingface/diffusers@58eb52c loaders/lora_pipeline.py (`Invalid LoRA checkpoint.` when a name has no
 * "lora"; kohya names are only converted when every name has one of four prefixes), loaders/lora_conversion_utils.py
 * (`The following keys have not been correctly renamed`); huggingface/peft@5d602fd config.py (`from_pretrained`).
 */
export function wholeFileRefusal(input: LayoutInput, adapter: Adapter, target: CheckTarget): string | undefined {
	if (target === 'peft')
		return input.config === undefined
			? 'there is no adapter_config.json beside it, and PEFT takes rank, alpha and targets from there.'
			: undefined;
	if (target !== 'diffusers') return undefined;
	if (adapter.source.layout === 'xlabs-flux') return undefined;
	const names = [...input.file.tensors.keys()].filter((name) => !name.includes('dora_scale'));
	const isUnet = adapter.modules.some((m) => m.component === 'unet') || !adapter.modules.some((m) => m.component.startsWith('transformer'));
	const kohya = names.filter((name) => KOHYA_PREFIXES.some((p) => name.startsWith(p)));
	if (isUnet && kohya.length > 0) {
		const stray = names.find((name) => !KOHYA_PREFIXES.some((p) => name.startsWith(p)));
		if (stray !== undefined) return `its names are kohya's but for ${quote(stray)}, and diffusers converts all of them or none.`;
		const left = names.find((name) => !readsLeaf('diffusers', fileKey(name)?.suffix ?? ''));
		if (left !== undefined) return `${quote(left)} is left over when its names are converted ("keys have not been correctly renamed").`;
		return undefined;
	}
	const odd = names.find((name) => !name.includes('lora'));
	return odd === undefined ? undefined : `${quote(odd)} has no "lora" in its name ("Invalid LoRA checkpoint").`;
}
