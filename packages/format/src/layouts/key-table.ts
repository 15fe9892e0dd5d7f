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
	const known = TABLES.get(file);
	if (known !== undefined) return known;
	const table: KeyEntry[] = [];
	// Tensors of one module stand together: one string for them all, so that later look-ups compare pointers.
	let module = '';
	for (const [key, tensor] of file.tensors) {
		let split = splitLeaf(key);
		if (split !== undefined) {
			if (split.module === module) split = { module, leaf: split.leaf };
			else module = split.module;
		}
		table.push({ key, tensor, split });
	}
	TABLES.set(file, table);
	return table;
}
