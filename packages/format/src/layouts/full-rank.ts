import type { StateDict } from '../state-dict.js';
import { keyTable } from './key-table.js';

const KNOWN = new WeakMap<StateDict, boolean>();

/**
 * ai-toolkit's network type `fullrank`: the whole difference (out, in) of every module under the name of the down
 * factor, and no up factor anywhere (LAYOUTS.md §2.13, from ostris/ai-toolkit@27a03a9). A file that lost its up factors has the same names, but its tensors are (rank, in) with few rows, so one
 * with as many rows as columns, as every self-attention has it, must be among them.
 */
export function isFullRank(file: StateDict): boolean {
	let known = KNOWN.get(file);
	if (known === undefined) {
		known = look(file);
		KNOWN.set(file, known);
	}
	return known;
}

function look(file: StateDict): boolean {
	let square = false;
	for (const { tensor, split } of keyTable(file)) {
		const role = split?.leaf.role;
		if (role === 'up' || role === 'mid') return false;
		if (role === 'down') square ||= tensor.shape.length >= 2 && (tensor.shape[0] ?? 0) >= (tensor.shape[1] ?? 0);
	}
	return square;
}
