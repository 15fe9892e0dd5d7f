import { ofNames } from '../name-lists.js';
import type { StateDict } from '../state-dict.js';
import { splitNamesOf } from './key-table.js';

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
	const downs = loneDowns(file);
	return (
		downs?.some((name) => {
			const shape = file.tensors.get(name)?.shape ?? [];
			return shape.length >= 2 && (shape[0] ?? 0) >= (shape[1] ?? 0);
		}) ?? false
	);
}

/** Names of the down factors; undefined where there is an up or a mid factor. */
const loneDowns = ofNames((list) => {
	const downs: string[] = [];
	const { splits } = splitNamesOf(list);
	for (const [i, name] of list.names.entries()) {
		const role = splits[i]?.leaf.role;
		if (role === 'up' || role === 'mid') return undefined;
		if (role === 'down') downs.push(name);
	}
	return downs;
});
