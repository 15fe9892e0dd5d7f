import { fillTemplate, type Grammar, grammar } from './grammar.js';

/**
 * What a native module is in diffusers' names. Rows of the native weight go to `parts` in order:
 * - `rename`: one part, all rows
 * - `equal`: parts of equal height (q, k, v)
 * - `hidden-mlp`: three parts as high as the module's input is wide, the rest to the fourth (Flux `linear1`)
 * - `swap`: one part, upper and lower half of the rows change places (shift, scale <-> scale, shift)
 * - `swap-if-two`: `swap` when the weight has two chunks (rows = 2 x columns), else `rename` (SD3's last context block)
 */
export type RowRule = 'rename' | 'equal' | 'hidden-mlp' | 'swap' | 'swap-if-two';

export interface NamingRow {
	readonly native: string;
	readonly parts: readonly string[];
	readonly rule: RowRule;
}

/** One native module and its diffusers parts, with the indices filled in. */
export interface NamedParts {
	readonly native: string;
	readonly parts: readonly string[];
	readonly rule: RowRule;
	/** Which of `parts` was asked for; 0 when asked by the native name. */
	readonly part: number;
}

/** Both directions of one model's names. */
export interface NamingTable {
	readonly rows: readonly NamingRow[];
	byNative(path: string): NamedParts | undefined;
	byDiffusers(path: string): NamedParts | undefined;
}

/** Look-ups over rows; the grammars are built on first use. */
export function namingTable(rows: readonly NamingRow[]): NamingTable {
	const native: Grammar<NamingRow> = grammar(() => rows.map((row) => [row.native, row] as const));
	const diffusers: Grammar<readonly [NamingRow, number]> = grammar(function* () {
		for (const row of rows) for (const [n, part] of row.parts.entries()) yield [part, [row, n]] as const;
	});
	return {
		rows,
		byNative(path) {
			const match = native.byDotted(path)[0];
			return match === undefined ? undefined : filled(match.value, match.indices, 0);
		},
		byDiffusers(path) {
			const match = diffusers.byDotted(path)[0];
			return match === undefined ? undefined : filled(match.value[0], match.indices, match.value[1]);
		},
	};
}

function filled(row: NamingRow, indices: readonly number[], part: number): NamedParts {
	return {
		native: fillTemplate(row.native, indices),
		parts: row.parts.map((p) => fillTemplate(p, indices)),
		rule: row.rule,
		part,
	};
}

/** Heights of the parts of a native weight with `rows` rows and, where known, `columns` columns; undefined when it cannot be cut. */
export function partRows(rule: RowRule, parts: number, rows: number, columns: number | undefined): readonly number[] | undefined {
	if (rule === 'equal') return rows % parts === 0 ? new Array<number>(parts).fill(rows / parts) : undefined;
	if (rule === 'hidden-mlp') {
		// Without the columns: Flux' MLP is four times as wide as the model.
		const h = columns ?? (rows % 7 === 0 ? rows / 7 : 0);
		return h > 0 && rows > 3 * h ? [h, h, h, rows - 3 * h] : undefined;
	}
	if (rule === 'swap' && rows % 2 !== 0) return undefined;
	return [rows];
}

/** Shorthand for a row that only renames. */
export function renameRow(native: string, diffusers: string): NamingRow {
	return { native, parts: [diffusers], rule: 'rename' };
}
