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
	/** The dotted template between its `#`. */
	readonly pieces: readonly string[];
	readonly value: T;
}

interface Cut {
	readonly key: string;
	readonly indices: readonly number[];
}

/** An index of at most six digits (no model has a million blocks) that stands alone between `_`, or between `.`. */
const FLAT_INDEX = /(?<![^_])(?:0|[1-9]\d{0,5})(?![^_])/g;
const DOTTED_INDEX = /(?<![^.])(?:0|[1-9]\d{0,5})(?![^.])/g;
const NOTHING: readonly never[] = [];

/** A grammar over (template, value) rows; the tables are built on the first look-up. */
export function grammar<T>(rows: () => Iterable<readonly [template: string, value: T]>): Grammar<T> {
	let flat: Map<string, Row<T>[]> | undefined;
	let dotted: Map<string, Row<T>[]> | undefined;
	return {
		byFlat(name) {
			flat ??= tableOf(rows(), true);
			return look(flat, cutIndices(name, FLAT_INDEX));
		},
		byDotted(name) {
			dotted ??= tableOf(rows(), false);
			return look(dotted, cutIndices(name, DOTTED_INDEX));
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
		const row = { template, wanted, pieces: template.split('#'), value };
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
	const { wanted, pieces } = row;
	// Fewer indices than places: the name has a literal `#`.
	if (given.length !== wanted.length) return undefined;
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

/** Takes out the canonical decimal integers (no leading zero) that fill a whole place between separators. */
function cutIndices(name: string, places: RegExp): Cut {
	const found = name.match(places);
	if (found === null) return { key: name, indices: NOTHING };
	return { key: name.replace(places, '#'), indices: found.map(Number) };
}

function cutTemplate(template: string, separator: string): { key: string; wanted: (number | undefined)[] } {
	const wanted: (number | undefined)[] = [];
	const parts = template.split(separator).map((part) => {
		if (part === '#') {
			wanted.push(undefined);
			return '#';
		}
		if (!/^(0|[1-9]\d*)$/.test(part)) return part;
		wanted.push(Number(part));
		return '#';
	});
	return { key: parts.join(separator), wanted };
}
