import { FormatError, findLayout, quote } from '@lorakit/format';

/** Containers of an adapter's file. */
export type ResultContainer = 'safetensors' | 'torch-zip';

/** The learned tokens' own file, as diffusers' `load_textual_inversion` looks for it. */
export const EMBEDDINGS_STEM = 'learned_embeds';

/**
 * The name under which the readers of a layout look for an adapter: diffusers and PEFT have one, elsewhere it is the
 * adapter's own. Sources: diffusers loaders/lora_base.py `LORA_WEIGHT_NAME`, PEFT utils/constants.py `WEIGHTS_NAME`,
 * cloneofsimo/lora training_scripts.
 * @param layout id or alias
 * @throws {FormatError} `E_USAGE` for a layout that nobody knows
 */
export function adapterFileName(layout: string, container: ResultContainer, name: string): string {
	const { id } = findLayout(layout, container);
	const torch = container === 'torch-zip';
	if (id.startsWith('diffusers')) return `pytorch_lora_weights.${torch ? 'bin' : 'safetensors'}`;
	if (id === 'peft') return `adapter_model.${torch ? 'bin' : 'safetensors'}`;
	return `${fileStem(name)}.${torch ? 'pt' : 'safetensors'}`;
}

/** Longest stem in bytes: file systems take 255, and suffixes follow. */
const MAX_STEM_BYTES = 120;
/** Windows has these as devices, whatever follows the dot. */
const DEVICES = /^(?:con|prn|aux|nul|com\d|lpt\d)(?:\.|$)/i;

/** A name as a file's stem that is one on every system: letters and digits of any script, `.`, `-`, `_`, no dot in front. @throws {FormatError} `E_USAGE` */
function fileStem(name: string): string {
	const clean = cleanStem(name);
	if (clean === '') throw new FormatError('E_USAGE', `${quote(name)} gives no file name; name the adapter with letters or digits.`);
	return clean;
}

/** As `fileStem`, but empty where nothing is left. */
export function cleanStem(name: string): string {
	const encoder = new TextEncoder();
	const usable = name
		.normalize('NFC')
		.replace(/[^\p{L}\p{N}\p{M}._-]+/gu, '-')
		.replace(/^[.-]+|[.-]+$/g, '');
	// A character has a byte at least, so that a long name is cut at once.
	let clean = [...usable].slice(0, MAX_STEM_BYTES).join('');
	while (encoder.encode(clean).byteLength > MAX_STEM_BYTES) clean = [...clean].slice(0, -1).join('');
	clean = clean.replace(/[.-]+$/, '');
	return DEVICES.test(clean) ? '' : clean;
}
