import { MAX_REMEMBERED_LISTS } from './limits.js';
import type { StateDict } from './state-dict.js';

/**
 * The names of the tensors of a file, in its order: one object for all files that have the very same names. Adapters of
 * one kind do, so that what follows from the names alone is worked out once for a whole folder of them (`ofNames`).
 */
export interface NameList {
	/** Distinct. */
	readonly names: readonly string[];
	has(name: string): boolean;
}

type Named = Pick<StateDict, 'tensors'>;

/** Lists of headers that were read, the last used first. */
let remembered: readonly NameList[] = [];

const LISTS = new WeakMap<Named, NameList>();

/** The remembered list that begins with this name; of several the one used last. */
export function listBeginningWith(name: string): NameList | undefined {
	return remembered.find(({ names }) => names[0] === name);
}

/** Keep a list for files to come. `names` must be distinct. */
export function rememberNames(names: readonly string[]): void {
	if (names.length === 0 || remembered.some((list) => isSame(list, names.length, names))) return;
	remembered = [listOf(names), ...remembered.slice(0, MAX_REMEMBERED_LISTS - 1)];
}

/** The list of a file. Files without one that is remembered have their own. */
export function nameListOf(file: Named): NameList {
	let list = LISTS.get(file);
	if (list === undefined) {
		const { tensors } = file;
		const found = remembered.find((known) => isSame(known, tensors.size, tensors.keys()));
		if (found !== undefined && found !== remembered[0]) remembered = [found, ...remembered.filter((known) => known !== found)];
		list = found ?? listOf([...tensors.keys()]);
		LISTS.set(file, list);
	}
	return list;
}

/**
 * A question about a file that its names alone answer, asked once for all files of the same names. What `work` returns
 * is shared between files: readonly data.
 */
export function ofNames<T>(work: (list: NameList) => T): (file: Named) => T {
	const answers = new WeakMap<NameList, { readonly answer: T }>();
	return (file) => {
		const list = nameListOf(file);
		let known = answers.get(list);
		if (known === undefined) {
			known = { answer: work(list) };
			answers.set(list, known);
		}
		return known.answer;
	};
}

function listOf(names: readonly string[]): NameList {
	let set: ReadonlySet<string> | undefined;
	return {
		names,
		has(name) {
			set ??= new Set(names);
			return set.has(name);
		},
	};
}

function isSame({ names }: NameList, count: number, others: Iterable<string>): boolean {
	if (names.length !== count) return false;
	let i = 0;
	for (const name of others) if (names[i++] !== name) return false;
	return true;
}
