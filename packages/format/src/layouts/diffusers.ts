import { type DiffusersFound, decodeDiffusers, metadataPrefixes } from './diffusers-decode.js';
import { encodeDiffusers } from './diffusers-encode.js';
import { type DiffusersKey, readDiffusersKeys } from './diffusers-key.js';
import { generateMetadata } from './diffusers-metadata.js';
import { rememberNames, takeNames } from './diffusers-names.js';
import { isOldLayout } from './diffusers-old.js';
import { defaultSpelling, describeSpelling } from './diffusers-spelling.js';
import { isFullRank } from './full-rank.js';
import { hasOnlyFlatNames } from './key-table.js';
import type { Claim, Layout, LayoutInput } from './layout.js';

/**
 * diffusers with PEFT, 0.22 to today (LAYOUTS §2.9): a component prefix (`unet.`, `text_encoder_2.`, `transformer.`, any
 * other component) or none (`save_lora_adapter`), three spellings of the leaves mixed in one file, alpha and ranks
 * in the header entry `lora_adapter_metadata`.
 * Source: huggingface/diffusers@58eb52c src/diffusers/loaders/lora_base.py, loaders/peft.py, utils/state_dict_utils.py.
 *
 * Form entries: `diffusers.spelling` (rule or table, see diffusers-spelling.ts), `diffusers.prefix`, `diffusers.aliases`,
 * `diffusers.text_model` (diffusers-names.ts), `diffusers.magnitude` (leaf of DoRA's vector), `diffusers.adapter` (name of the
 * adapter in the leaves), `diffusers.metadata` (the source's whole `lora_adapter_metadata`), `diffusers.alpha` = `tensors`, or
 * `metadata` for one that we made (never read from a file),
 * `diffusers.format` = `none`. Each stands only where the file does not do what we would write by ourselves.
 */
export const diffusers: Layout = {
	id: 'diffusers',
	title: 'diffusers (PEFT-backed, 0.22 to today)',
	aliases: ['diffusers-peft'],
	namings: ['diffusers'],
	readers: 'diffusers; ComfyUI for text encoders and transformers, not for a UNet',
	claim,
	decode: (input, options) => decodeDiffusers(input, options, { id: 'diffusers', accepts, saysAlpha: true, remember }),
	encode: encodeDiffusers,
};

function accepts(key: DiffusersKey): boolean {
	if (key.spelling === 'processor' || key.spelling === 'te-four' || key.spelling === 'te-attention') return false;
	// A name without prefix in its leaf is a raw state dict: peft reads it.
	return key.prefix !== '' || key.adapterName === undefined;
}

function claim(input: LayoutInput): Claim {
	const { file } = input;
	const known = metadataPrefixes(file.metadata);
	if (!known.has('') && hasOnlyFlatNames(file)) return { names: new Set(), confidence: 0, evidence: [] };
	const names = new Set<string>();
	const keys: DiffusersKey[] = [];
	const spellings = new Map<string, number>();
	let bare = 0;
	for (const { name, key } of readDiffusersKeys(file, known)) {
		if (key === undefined || !accepts(key)) continue;
		names.add(name);
		keys.push(key);
		if (key.prefix === '') bare++;
		if (key.spelling !== 'any') spellings.set(key.spelling, (spellings.get(key.spelling) ?? 0) + 1);
	}
	const evidence: string[] = [];
	for (const [spelling, count] of spellings) evidence.push(`${count} names in the spelling ${LABELS.get(spelling) ?? spelling}`);
	const explained = known.size > 0;
	if (explained) evidence.push('the header entry lora_adapter_metadata is diffusers\u2019 own');
	let confidence: number;
	// Files that say nothing of the kind are another layout's: ai-toolkit's full differences, BFL's and Stability's own names.
	if (names.size === 0 || isFullRank(file)) confidence = 0;
	else if (explained) confidence = 1;
	else if (spellings.size === 0) confidence = 0.55;
	else if (bare > 0) {
		confidence = keys.every((k) => k.component !== 'transformer') ? 0.6 : keys.some((k) => OWN_NAMES.test(k.path)) ? 0.1 : 0.45;
		evidence.push(`${bare} names have no component in front, as save_lora_adapter writes them`);
	} else if (!spellings.has('peft')) {
		// Rows 8 and 9 of LAYOUTS §1 share these keys, and both mean scaling 1.
		const old = isOldLayout(keys);
		confidence = old.old ? 0.6 : 0.9;
		evidence.push(old.why);
	} else confidence = 0.95;
	return { names, confidence, evidence };
}

/** Blocks of transformers in their makers' words, which `save_lora_adapter` never writes. */
const OWN_NAMES = /^(?:double_blocks|single_blocks|joint_blocks)\./;

const LABELS: ReadonlyMap<string, string> = new Map([
	['peft', 'lora_A / lora_B'],
	['lora', 'lora.down / lora.up'],
	['linear', 'lora_linear_layer'],
]);

function remember(found: DiffusersFound, form: Map<string, string>): void {
	rememberNames(found, form);
	const spelled = new Map([...found.keys].map(([id, key]) => [id, key.spelling] as const));
	const spelling = describeSpelling(found.modules, spelled, defaultSpelling(found.modules));
	if (spelling !== undefined) form.set('diffusers.spelling', spelling);
	const magnitude = found.all.find((key) => key.role === 'magnitude')?.suffix;
	if (magnitude !== undefined && magnitude !== '.lora_magnitude_vector') form.set('diffusers.magnitude', magnitude);
	if (found.adapterName !== undefined) form.set('diffusers.adapter', found.adapterName);
	if (found.modules.some((m) => m.alphaTensor !== undefined)) form.set('diffusers.alpha', 'tensors');
	if (found.metadataText !== undefined) {
		const names = takeNames({ modules: found.modules }, new Map(form));
		const scaled = found.modules.some((m) => m.scaling !== 1);
		const own = generateMetadata(
			found.modules.filter((m) => m.family === 'lora'),
			(m) => names.of(m),
		);
		if (!scaled || own.text !== found.metadataText) form.set('diffusers.metadata', found.metadataText);
	}
}
