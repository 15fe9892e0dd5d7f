import { ofNames } from '../name-lists.js';
import { hasOnlyFlatNames, keyTable } from './key-table.js';
import type { Claim, Layout, LayoutInput } from './layout.js';
import { decodePeft } from './peft-decode.js';
import { encodePeft } from './peft-encode.js';
import { PROMPT_MARK, parsePeftKey, unsupportedMethod } from './peft-names.js';

/**
 * Plain PEFT (LAYOUTS §2.10, §2.11): `base_model.model.{path}.lora_A.weight` and an adapter_config.json beside it that
 * alone knows alpha, rsLoRA and the patterns. One file holds one component of a pipeline and does not name it.
 * Holds LoRA (with DoRA, bias and embeddings), LoHa, LoKr, OFT, BOFT, IA3 of PEFT, and whole tensors (modules_to_save).
 * Source: huggingface/peft@5d602fd src/peft/utils/save_and_load.py, src/peft/tuners.
 *
 * Form entries, each only where the file does not do the usual thing: `peft.config` = the whole adapter_config.json;
 * `peft.prefix`; `peft.adapter` = the adapter's name in the leaves; `peft.magnitude` = leaf of DoRA's vector; `peft.text_model` =
 * `none` (transformers >= 5); `peft.component` = component, where the paths do not show it; `peft.format` = `none`.
 */
export const peft: Layout = {
	id: 'peft',
	title: 'PEFT (adapter_model.safetensors + adapter_config.json)',
	aliases: ['peft-named-adapter'],
	namings: [],
	configured: true,
	readers: 'PEFT; diffusers and transformers through it',
	claim,
	decode: decodePeft,
	encode: encodePeft,
};

const hasPrompt = ofNames(({ names }) => names.some((name) => name.includes(PROMPT_MARK)));

function claim(input: LayoutInput): Claim {
	const names = new Set<string>();
	let prefixed = 0;
	let named = 0;
	let bare = 0;
	// PEFT's marks begin with dots, which flat names lack.
	const flat = hasOnlyFlatNames(input.file);
	const entries = flat && input.config === undefined && !hasPrompt(input.file) ? [] : keyTable(input.file);
	for (const { key: name, split } of entries) {
		if (flat && input.config === undefined && !name.includes(PROMPT_MARK)) continue;
		const unsupported = unsupportedMethod(name) !== undefined;
		if (unsupported || name.includes('base_model.model.')) {
			if (!unsupported && parsePeftKey(name) === undefined) continue;
			names.add(name);
			prefixed++;
			continue;
		}
		// A plain leaf without an adapter's name counts only beside a configuration.
		if (split !== undefined && input.config === undefined) continue;
		const key = parsePeftKey(name);
		if (key === undefined || key.role === 'alpha' || key.role === 'scale') continue;
		if (key.adapterName !== undefined) named++;
		else if (input.config !== undefined) bare++;
		else continue;
		names.add(name);
	}
	if (names.size === 0) return { names, confidence: 0, evidence: [] };
	const evidence: string[] = [];
	if (prefixed > 0) evidence.push(`${prefixed} names begin with base_model.model.`);
	if (named > 0) evidence.push(`${named} names have an adapter's name in the leaf, as a raw state_dict() does`);
	if (bare > 0) evidence.push(`${bare} names end in PEFT's leaves, without its prefix`);
	if (input.config !== undefined) evidence.push('adapter_config.json is beside it');
	const confidence = prefixed > 0 ? (input.config === undefined ? 0.97 : 1) : named > 0 ? 0.8 : 0.85;
	return { names, confidence, evidence };
}
