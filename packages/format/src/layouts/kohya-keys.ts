import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';
import { isBundle } from './bundle-embeddings.js';
import { keyTable } from './key-table.js';
import { type Leaf, type LeafRole, type LeafStyle, type SplitKey, splitLeaf } from './leaves.js';

/** One name of a layout whose module paths are flattened behind a prefix. */
export interface FlatKey {
	readonly key: string;
	/** `lora_unet`, `lora_te1`, ...; `lora_unet_` for Wan-Fun's doubled underscore. */
	readonly prefix: string;
	/** Module path with `_` for `.`, without the prefix. */
	readonly flat: string;
	/** `PREFIX_FLAT`: the module's name as it stands. */
	readonly name: string;
	readonly role: LeafRole;
	readonly style: LeafStyle;
	readonly tensor: Tensor;
}

/**
 * Prefixes of kohya's grammar, longest first where one begins another. Sources: kohya-ss/sd-scripts@48d368f
 * networks/lora.py, lora_flux.py, lora_sd3.py; OneTrainer (`lora_transformer`, `lora_prior_*`, `lora_te4`).
 */
export const KOHYA_PREFIXES: readonly string[] = [
	'lora_unet',
	'lora_te1',
	'lora_te2',
	'lora_te3',
	'lora_te4',
	'lora_te',
	'lora_transformer',
	'lora_prior_unet',
	'lora_prior_te',
];

/** Leaf spellings that stand behind a flattened name: ComfyUI tries all of them. `processor` there is damage. */
const STYLES: ReadonlySet<LeafStyle> = new Set<LeafStyle>(['kohya', 'any', 'peft', 'diffusers', 'linear-layer', 'ai-toolkit']);

/** What a file holds for a flat layout. */
export interface FlatKeys {
	readonly keys: readonly FlatKey[];
	/** Names of bundled embeddings. */
	readonly bundles: readonly string[];
}

/** What was read of a file, by its prefixes: claiming and decoding ask for the same. */
const READ = new WeakMap<StateDict, Map<readonly string[], FlatKeys>>();

/** Every name of the file that the prefixes and leaves explain. Reads names only. */
export function readFlatKeys(file: StateDict, prefixes: readonly string[]): FlatKeys {
	let known = READ.get(file);
	if (known === undefined) {
		known = new Map();
		READ.set(file, known);
	}
	let keys = known.get(prefixes);
	if (keys === undefined) {
		keys = findFlatKeys(file, prefixes);
		known.set(prefixes, keys);
	}
	return keys;
}

function findFlatKeys(file: StateDict, prefixes: readonly string[]): FlatKeys {
	const keys: FlatKey[] = [];
	const bundles: string[] = [];
	let last: FlatKey | undefined;
	for (const { key, tensor, split } of keyTable(file)) {
		// The tensors of one module stand together and share its name.
		const flat =
			last !== undefined && split !== undefined && split.module === last.name && STYLES.has(split.leaf.style)
				? { key, prefix: last.prefix, flat: last.flat, name: last.name, role: split.leaf.role, style: split.leaf.style, tensor }
				: splitFlatKey(key, tensor, split, file, prefixes);
		last = flat;
		if (flat !== undefined) keys.push(flat);
		else if (isBundle(key, tensor)) bundles.push(key);
	}
	return { keys, bundles };
}

function splitFlatKey(
	key: string,
	tensor: Tensor,
	plain: SplitKey | undefined,
	file: StateDict,
	prefixes: readonly string[],
): FlatKey | undefined {
	const prefix = prefixes.find((p) => key.startsWith(p) && key.charCodeAt(p.length) === 95);
	if (prefix === undefined) return undefined;
	const split = plain ?? splitKohyaLeaf(key, file);
	if (split === undefined) return undefined;
	const { module } = split;
	const { role, style } = split.leaf;
	if (!STYLES.has(style) || module.includes('.') || module.length <= prefix.length + 1) return undefined;
	const flat = module.slice(prefix.length + 1);
	if (flat.startsWith('_') && flat.length > 1) return { key, prefix: `${prefix}_`, flat: flat.slice(1), name: module, role, style, tensor };
	return { key, prefix, flat, name: module, role, style, tensor };
}

const DENSE_BIAS: Leaf = { suffix: '.bias', role: 'bias_dense', style: 'kohya' };

/**
 * `splitLeaf`, and A1111's `.bias` beside a pair; and LyCORIS' IA3: its vector's leaf is a bare `.weight`, told from a whole weight only by the
 * `.on_input` beside it.
 */
export function splitKohyaLeaf(key: string, file: StateDict): SplitKey | undefined {
	const split = splitLeaf(key);
	if (split === undefined && key.endsWith('.bias')) {
		const module = key.slice(0, -'.bias'.length);
		return file.tensors.has(`${module}.lora_up.weight`) ? { module, leaf: DENSE_BIAS } : undefined;
	}
	if (split !== undefined || !key.endsWith('.weight')) return split;
	const module = key.slice(0, -'.weight'.length);
	return file.tensors.has(`${module}.on_input`) ? { module, leaf: { suffix: '.weight', role: 'ia3_weight', style: 'kohya' } } : undefined;
}
