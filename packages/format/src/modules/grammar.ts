/**
 * Names of modules by template: `down_blocks.#.resnets.#.conv1`, where `#` is any index and a digit that stands
 * in the template is meant literally. One look-up by the name with its indices taken out, and no splitting
 * at `_`, so that `time_embedding`, `proj_in` and `to_out.0` come back whole.
 */
export interface Grammar<T> {
	/** Takes a flattened name (`.` written as `_`) apart. All templates that fit, in the order of the table. */
	byFlat(name: string): readonly GrammarMatch<T>[];
	/** Finds the templates of a dotted name. */
	byDotted(name: string): readonly GrammarMatch<T>[];
}

export interface GrammarMatch<T> {
	/** The dotted name. */
	readonly path: string;
	/** The template it fits. */
	readonly template: string;
	/** Values of its `#`, in order. */
	readonly indices: readonly number[];
	/** What the table says beside the template. */
	readonly value: T;
}

interface Row<T> {
	readonly template: string;
	/** One per integer of the name: a number must be met, undefined is a `#`. */
	readonly wanted: readonly (number | undefined)[];
	/** The dotted template between its `#`; cut when a name first fits. */
	pieces: readonly string[] | undefined;
	readonly value: T;
}

interface Cut {
	readonly key: string;
	readonly indices: readonly number[];
}

const NOTHING: readonly never[] = [];
const HASH = 35;

/** A grammar over (template, value) rows; the tables are built on the first look-up. */
export function grammar<T>(rows: () => Iterable<readonly [template: string, value: T]>): Grammar<T> {
	let flat: Map<string, Row<T>[]> | undefined;
	let dotted: Map<string, Row<T>[]> | undefined;
	return {
		byFlat(name) {
			flat ??= tableOf(rows(), true);
			return look(flat, cutIndices(name, '_'));
		},
		byDotted(name) {
			dotted ??= tableOf(rows(), false);
			return look(dotted, cutIndices(name, '.'));
		},
	};
}

/** The template with its `#` replaced by the indices, in order. */
export function fillTemplate(template: string, indices: readonly number[]): string {
	let out = '';
	let from = 0;
	for (const index of indices) {
		const at = template.indexOf('#', from);
		if (at < 0) break;
		out += template.slice(from, at) + index;
		from = at + 1;
	}
	return out + template.slice(from);
}

/** `.` to `_`: how kohya's scripts and LyCORIS write a module path. Not reversible without a grammar. */
export function flattenPath(path: string): string {
	return path.replaceAll('.', '_');
}

function tableOf<T>(rows: Iterable<readonly [string, T]>, flat: boolean): Map<string, Row<T>[]> {
	const table = new Map<string, Row<T>[]>();
	for (const [template, value] of rows) {
		const { key, wanted } = cutTemplate(flat ? flattenPath(template) : template, flat ? '_' : '.');
		const row: Row<T> = { template, wanted, pieces: undefined, value };
		const list = table.get(key);
		if (list === undefined) table.set(key, [row]);
		else list.push(row);
	}
	return table;
}

// The hot path of reading an adapter (2,400 names): plain loops, one pass over the pieces.
function look<T>(table: ReadonlyMap<string, readonly Row<T>[]>, cut: Cut): readonly GrammarMatch<T>[] {
	const rows = table.get(cut.key);
	if (rows === undefined) return NOTHING;
	const found: GrammarMatch<T>[] = [];
	for (const row of rows) {
		const match = matchOf(row, cut.indices);
		if (match !== undefined) found.push(match);
	}
	return found;
}

function matchOf<T>(row: Row<T>, given: readonly number[]): GrammarMatch<T> | undefined {
	const { wanted } = row;
	// Fewer indices than places: the name has a literal `#`.
	if (given.length !== wanted.length) return undefined;
	row.pieces ??= row.template.split('#');
	const { pieces } = row;
	const indices: number[] = [];
	let path = pieces[0] ?? '';
	for (let i = 0; i < given.length; i += 1) {
		const index = given[i] ?? 0;
		const want = wanted[i];
		if (want === undefined) {
			indices.push(index);
			path += index + (pieces[indices.length] ?? '');
		} else if (want !== index) return undefined;
	}
	return { path, template: row.template, indices, value: row.value };
}

/** Takes out the canonical decimal integers that fill a whole place between separators. */
function cutIndices(name: string, separator: '_' | '.'): Cut {
	let key = '';
	let from = 0;
	let indices: number[] | undefined;
	for (let at = 0; ; ) {
		const end = name.indexOf(separator, at);
		const stop = end < 0 ? name.length : end;
		const index = indexAt(name, at, stop);
		if (index >= 0) {
			key += `${name.slice(from, at)}#`;
			from = stop;
			if (indices === undefined) indices = [index];
			else indices.push(index);
		}
		if (end < 0) break;
		at = end + 1;
	}
	return indices === undefined ? { key: name, indices: NOTHING } : { key: key + name.slice(from), indices };
}

/** The number of at most six digits (no model has a million blocks), without leading zeros, that fills a place; else -1. */
function indexAt(name: string, start: number, stop: number): number {
	const first = name.charCodeAt(start);
	const digits = stop - start;
	if (!(first >= 48 && first <= 57) || digits < 1 || digits > 6) return -1;
	let value = 0;
	for (let i = start; i < stop; i += 1) {
		const digit = name.charCodeAt(i) - 48;
		if (!(digit >= 0 && digit <= 9) || (digit === 0 && i === start && digits > 1)) return -1;
		value = 10 * value + digit;
	}
	return value;
}

function cutTemplate(template: string, separator: '_' | '.'): { key: string; wanted: (number | undefined)[] } {
	const wanted: (number | undefined)[] = [];
	let key = '';
	let from = 0;
	for (let at = 0; ; ) {
		const end = template.indexOf(separator, at);
		const stop = end < 0 ? template.length : end;
		const index = indexAt(template, at, stop);
		if (index >= 0) {
			key += `${template.slice(from, at)}#`;
			from = stop;
			wanted.push(index);
		} else if (stop === at + 1 && template.charCodeAt(at) === HASH) wanted.push(undefined);
		if (end < 0) break;
		at = end + 1;
	}
	return { key: from === 0 ? template : key + template.slice(from), wanted };
}
