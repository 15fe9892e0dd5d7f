import { type NameList, nameListOf } from '../name-lists.js';
import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';
import { type SplitKey, splitLeaf } from './leaves.js';

/** One tensor name of a file with its split, made once and shared by all layouts. */
export interface KeyEntry {
	readonly key: string;
	readonly tensor: Tensor;
	/** `splitLeaf(key)`. */
	readonly split: SplitKey | undefined;
}

const TABLES = new WeakMap<StateDict, readonly KeyEntry[]>();

/** Every name of a file, split at its leaf, in the file's order. Detection asks a dozen layouts: each name is taken apart once. */
export function keyTable(file: StateDict): readonly KeyEntry[] {
	let table = TABLES.get(file);
	if (table === undefined) {
		const { splits } = splitNames(file);
		const entries: KeyEntry[] = [];
		for (const [key, tensor] of file.tensors) entries.push({ key, tensor, split: splits[entries.length] });
		table = entries;
		TABLES.set(file, table);
	}
	return table;
}

/**
 * True when every name is `lora_...`, without a dot before its leaf: the most common file, which layouts of dotted names
 * need not look through.
 */
export function hasOnlyFlatNames(file: StateDict): boolean {
	return splitNames(file).allFlat;
}

/** The names of a file taken apart, without the tensors. */
export interface SplitNames {
	/** `splitLeaf` of each name, in the file's order. */
	readonly splits: readonly (SplitKey | undefined)[];
	readonly allFlat: boolean;
}

/** What `keyTable` says of the names alone. */
export function splitNames(file: StateDict): SplitNames {
	return splitNamesOf(nameListOf(file));
}

const SPLIT = new WeakMap<NameList, SplitNames>();

/** `splitNames` of a list. */
export function splitNamesOf(list: NameList): SplitNames {
	let known = SPLIT.get(list);
	if (known === undefined) {
		known = splitAll(list.names);
		SPLIT.set(list, known);
	}
	return known;
}

function splitAll(names: readonly string[]): SplitNames {
	const splits: (SplitKey | undefined)[] = [];
	let allFlat = names.length > 0;
	// Tensors of one module stand together: one string for them all, so that later look-ups compare pointers.
	let module = '';
	for (const key of names) {
		let split = splitLeaf(key);
		if (split === undefined) allFlat = false;
		else if (split.module === module) split = { module, leaf: split.leaf };
		else {
			module = split.module;
			allFlat &&= module.startsWith('lora_') && !module.includes('.');
		}
		splits.push(split);
	}
	return { splits, allFlat };
}
