import { type NameList, nameListOf, ofNames } from '../name-lists.js';
import type { StateDict } from '../state-dict.js';
import { BUNDLE_PREFIX, isBundle } from './bundle-embeddings.js';
import { splitNames } from './key-table.js';
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

/** What the names of a file give, by the prefixes: claiming and decoding ask for the same. */
const READ: (file: StateDict) => Map<readonly string[], FlatKeys> = ofNames(() => new Map());

/** Every name of the file that the prefixes and leaves explain. Reads names, and the shapes of what may be embeddings. */
export function readFlatKeys(file: StateDict, prefixes: readonly string[]): FlatKeys {
	const known = READ(file);
	let keys = known.get(prefixes);
	if (keys === undefined) {
		keys = findFlatKeys(nameListOf(file), splitNames(file).splits, prefixes);
		known.set(prefixes, keys);
	}
	if (keys.bundles.length === 0) return keys;
	return { keys: keys.keys, bundles: keys.bundles.filter((key) => isBundleOf(file, key)) };
}

function isBundleOf(file: StateDict, key: string): boolean {
	const tensor = file.tensors.get(key);
	return tensor !== undefined && isBundle(key, tensor);
}

/** `bundles`: names that are bundled embeddings if their tensors are vectors. */
function findFlatKeys(list: NameList, splits: readonly (SplitKey | undefined)[], prefixes: readonly string[]): FlatKeys {
	const keys: FlatKey[] = [];
	const bundles: string[] = [];
	let last: FlatKey | undefined;
	for (const [i, key] of list.names.entries()) {
		const split = splits[i];
		// The tensors of one module stand together and share its name.
		const flat: FlatKey | undefined =
			last !== undefined && split !== undefined && split.module === last.name && STYLES.has(split.leaf.style)
				? { key, prefix: last.prefix, flat: last.flat, name: last.name, role: split.leaf.role, style: split.leaf.style }
				: splitFlatKey(key, split, list, prefixes);
		last = flat;
		if (flat !== undefined) keys.push(flat);
		else if (key.startsWith(BUNDLE_PREFIX)) bundles.push(key);
	}
	return { keys, bundles };
}

function splitFlatKey(key: string, plain: SplitKey | undefined, list: NameList, prefixes: readonly string[]): FlatKey | undefined {
	const prefix = prefixes.find((p) => key.startsWith(p) && key.charCodeAt(p.length) === 95);
	if (prefix === undefined) return undefined;
	const split = plain ?? splitOdd(key, list);
	if (split === undefined) return undefined;
	const { module } = split;
	const { role, style } = split.leaf;
	if (!STYLES.has(style) || module.includes('.') || module.length <= prefix.length + 1) return undefined;
	const flat = module.slice(prefix.length + 1);
	if (flat.startsWith('_') && flat.length > 1) return { key, prefix: `${prefix}_`, flat: flat.slice(1), name: module, role, style };
	return { key, prefix, flat, name: module, role, style };
}

const DENSE_BIAS: Leaf = { suffix: '.bias', role: 'bias_dense', style: 'kohya' };

/**
 * `splitLeaf`, and A1111's `.bias` beside a pair; and LyCORIS' IA3: its vector's leaf is a bare `.weight`, told from a whole weight only by the
 * `.on_input` beside it.
 */
export function splitKohyaLeaf(key: string, file: StateDict): SplitKey | undefined {
	return splitLeaf(key) ?? splitOdd(key, file.tensors);
}

/** Leaves that only their neighbours explain. */
function splitOdd(key: string, names: { has(name: string): boolean }): SplitKey | undefined {
	if (key.endsWith('.bias')) {
		const module = key.slice(0, -'.bias'.length);
		return names.has(`${module}.lora_up.weight`) ? { module, leaf: DENSE_BIAS } : undefined;
	}
	if (!key.endsWith('.weight')) return undefined;
	const module = key.slice(0, -'.weight'.length);
	return names.has(`${module}.on_input`) ? { module, leaf: { suffix: '.weight', role: 'ia3_weight', style: 'kohya' } } : undefined;
}
