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

interface KeyTable {
	readonly entries: readonly KeyEntry[];
	readonly allFlat: boolean;
}

const TABLES = new WeakMap<StateDict, KeyTable>();

/** Every name of a file, split at its leaf, in the file's order. Detection asks a dozen layouts: each name is taken apart once. */
export function keyTable(file: StateDict): readonly KeyEntry[] {
	return tableOf(file).entries;
}

/**
 * True when every name is `lora_...`, without a dot before its leaf: the most common file, which layouts of dotted names
 * need not look through.
 */
export function hasOnlyFlatNames(file: StateDict): boolean {
	return tableOf(file).allFlat;
}

function tableOf(file: StateDict): KeyTable {
	const known = TABLES.get(file);
	if (known !== undefined) return known;
	const entries: KeyEntry[] = [];
	let allFlat = file.tensors.size > 0;
	// Tensors of one module stand together: one string for them all, so that later look-ups compare pointers.
	let module = '';
	for (const [key, tensor] of file.tensors) {
		let split = splitLeaf(key);
		if (split === undefined) allFlat = false;
		else if (split.module === module) split = { module, leaf: split.leaf };
		else {
			module = split.module;
			allFlat &&= module.startsWith('lora_') && !module.includes('.');
		}
		entries.push({ key, tensor, split });
	}
	const table = { entries, allFlat };
	TABLES.set(file, table);
	return table;
}
