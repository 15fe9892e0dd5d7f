import { FormatError, nearestName, quote } from '@lorakit/format';
import { SCHEDULER_KINDS } from '@lorakit/runtime';
import { type EditRequest, shareRange } from './edit-request.js';
import { parseNumber, parseSeed, parseWhole } from './numbers.js';
import type { PictureSettings } from './picture-settings.js';

/** What one value of an axis changes. */
export interface GridChange {
	/** Over the settings of the command line. */
	readonly settings: Partial<PictureSettings>;
	/** Replaces the scale of every adapter. */
	readonly scale?: number;
	/** An adapter more, `FILE[@scale]`. */
	readonly lora?: string;
	/** Over `--edit-cross` and `--edit-self`. */
	readonly edit?: Partial<Pick<EditRequest, 'cross' | 'self'>>;
}

/** One axis: its values in order, each with a label. */
export interface GridAxis {
	readonly name: string;
	readonly values: readonly { readonly label: string; readonly change: GridChange }[];
}

/** More pictures than this on one sheet are a mistake. */
export const MAX_GRID_CELLS = 1024;

const READERS: Readonly<Record<string, (text: string) => GridChange>> = {
	scale: (text) => ({ settings: {}, scale: parseNumber(text, 'scale in --grid', -1000, 1000) }),
	seed: (text) => ({ settings: { seed: parseSeed(text) } }),
	steps: (text) => ({ settings: { steps: parseWhole(text, 'steps in --grid', 1, 1000) } }),
	guidance: (text) => ({ settings: { guidance: parseNumber(text, 'guidance in --grid', 0, 1000) } }),
	'guidance-rescale': (text) => ({ settings: { guidanceRescale: parseNumber(text, 'guidance-rescale in --grid', 0, 1) } }),
	strength: (text) => ({ settings: { strength: parseNumber(text, 'strength in --grid', 0, 1) } }),
	eta: (text) => ({ settings: { eta: parseNumber(text, 'eta in --grid', 0, 1) } }),
	'clip-skip': (text) => ({ settings: { clipSkip: parseWhole(text, 'clip-skip in --grid', 0, 100) } }),
	scheduler(text) {
		const kind = SCHEDULER_KINDS.find((k) => k === text);
		if (kind !== undefined) return { settings: { scheduler: kind } };
		throw new FormatError('E_USAGE', `There is no scheduler ${quote(text)} (in --grid); there are ${SCHEDULER_KINDS.join(', ')}.`);
	},
	lora: (text) => ({ settings: {}, lora: text }),
	prompt: (text) => ({ settings: { prompt: text } }),
	negative: (text) => ({ settings: { negative: text } }),
	'edit-cross': (text) => ({ settings: {}, edit: { cross: shareRange(text, 'edit-cross in --grid') } }),
	'edit-self': (text) => ({ settings: {}, edit: { self: shareRange(text, 'edit-self in --grid') } }),
};

export const GRID_AXES: readonly string[] = Object.keys(READERS);

/**
 * `scale=0,0.5,1 x seed=1..4`: axes with values separated by commas; `a..b` are the whole numbers between, `a..b/step` every
 * step. A value in double quotes (`\"` and `\\` inside) is taken as it is: prompts with commas. The last axis goes along the
 * columns, those before it down the rows.
 * @throws {FormatError} `E_USAGE` for an axis that is none (the nearest is named), comes twice, or has a value that is none;
 *   `E_LIMIT` for more than MAX_GRID_CELLS pictures.
 */
export function parseGrid(text: string): readonly GridAxis[] {
	const axes: GridAxis[] = [];
	let cells = 1;
	for (const part of splitPlain(text.trim(), BETWEEN_AXES)) {
		const match = /^([a-z-]+)\s*=\s*(.+)$/is.exec(part.trim());
		const name = match?.[1]?.toLowerCase() ?? '';
		const read = Object.hasOwn(READERS, name) ? READERS[name] : undefined;
		if (match === null || read === undefined) {
			const near = nearestName(name, GRID_AXES);
			throw new FormatError(
				'E_USAGE',
				`${quote(part)} in --grid is no axis; write name=value,value with ${GRID_AXES.join(', ')}${near === undefined ? '' : ` (did you mean ${near}?)`}.`,
			);
		}
		if (axes.some((axis) => axis.name === name)) throw new FormatError('E_USAGE', `--grid has the axis ${name} twice; say it once.`);
		const words = splitPlain(match[2] ?? '', /,/y).flatMap((word) => unquoted(word.trim(), part) ?? expandRange(word.trim(), part));
		cells *= words.length;
		if (cells > MAX_GRID_CELLS) throw tooMany(cells);
		axes.push({ name, values: words.map((word) => ({ label: labelOf(name, word), change: read(word) })) });
	}
	return axes;
}

const QUOTED = /"(?:[^"\\]|\\.)*"/y;
/** Tried at the first space of several alone: the record of a picture may have 200,000 of them. */
const BETWEEN_AXES = /(?<!\s)\s+[x×]\s+/y;

/** Parts between what `separator` (sticky) matches outside of quotes. A quote begins a value: behind `=`, a comma, or nothing. */
function splitPlain(text: string, separator: RegExp): readonly string[] {
	const parts: string[] = [];
	let from = 0;
	for (let at = 0; at < text.length; ) {
		QUOTED.lastIndex = at;
		separator.lastIndex = at;
		if (/(?:^|[=,])\s*$/.test(text.slice(Math.max(0, at - 64), at)) && QUOTED.test(text)) {
			at = QUOTED.lastIndex;
		} else if (separator.test(text)) {
			parts.push(text.slice(from, at));
			at = separator.lastIndex;
			from = at;
		} else at++;
	}
	return [...parts, text.slice(from)];
}

/** A value in quotes, undefined for any other. @throws {FormatError} `E_USAGE` for a quote without end, or with text behind it */
function unquoted(word: string, part: string): readonly string[] | undefined {
	if (!word.startsWith('"')) return undefined;
	QUOTED.lastIndex = 0;
	if (!QUOTED.test(word) || QUOTED.lastIndex !== word.length) {
		throw new FormatError('E_USAGE', `${quote(part)} in --grid has a quote that does not end its value; write "one","two".`);
	}
	// Other backslashes are the value's: of brackets in a prompt, of a path.
	return [word.slice(1, -1).replaceAll(/\\(["\\])/g, '$1')];
}

function expandRange(word: string, part: string): readonly string[] {
	const match = /^(-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)(?:\/(\d+(?:\.\d+)?))?$/.exec(word);
	if (match === null) {
		if (word === '') throw new FormatError('E_USAGE', `${quote(part)} in --grid has an empty value; separate values by one comma.`);
		return [word];
	}
	const [from, to, step] = [Number(match[1]), Number(match[2]), Number(match[3] ?? 1)];
	const steps = Math.floor((to - from) / step + 1e-9);
	// Seeds may be larger than the numbers that a double counts one by one.
	if (![from, to].every((n) => Math.abs(n) <= Number.MAX_SAFE_INTEGER)) {
		throw new FormatError('E_USAGE', `${quote(word)} in --grid is a range of numbers over 2^53; write the values one by one.`);
	}
	if (!(steps >= 0)) throw new FormatError('E_USAGE', `${quote(word)} in --grid goes nowhere; write the smaller number first.`);
	if (steps === 0 && to !== from) {
		throw new FormatError('E_USAGE', `${quote(word)} in --grid goes by ${step}, which is more than it has; say the step behind a slash.`);
	}
	if (steps + 1 > MAX_GRID_CELLS) throw tooMany(steps + 1);
	// Rounded to what the user wrote, so that 0..1/0.1 has 0.3 and not 0.30000000000000004.
	const digits = Math.max(...[match[1], match[3] ?? ''].map((n) => n?.split('.')[1]?.length ?? 0));
	return Array.from({ length: steps + 1 }, (_, i) => String(Number((from + i * step).toFixed(digits))));
}

function labelOf(name: string, word: string): string {
	if (name === 'scheduler' || name === 'prompt') return word;
	if (name === 'lora') return (word.split(/[/\\]/).pop() ?? word).replace(/\.safetensors/i, '');
	return `${name} ${word}`;
}

function tooMany(cells: number): FormatError {
	return new FormatError('E_LIMIT', `--grid asks for ${cells} pictures or more; one sheet has at most ${MAX_GRID_CELLS}.`);
}

/** One cell of the product of all axes. */
export interface GridCell {
	readonly row: number;
	readonly column: number;
	readonly changes: readonly GridChange[];
}

/** The cells row by row, and the labels along both sides. */
export function gridCells(axes: readonly GridAxis[]): {
	readonly cells: readonly GridCell[];
	readonly rows: readonly string[];
	readonly columns: readonly string[];
} {
	const last = axes.at(-1);
	let rows: { readonly label: string; readonly changes: readonly GridChange[] }[] = [{ label: '', changes: [] }];
	for (const axis of axes.slice(0, -1)) {
		rows = rows.flatMap((row) =>
			axis.values.map(({ label, change }) => ({
				label: row.label === '' ? label : `${row.label}, ${label}`,
				changes: [...row.changes, change],
			})),
		);
	}
	const columns = last?.values ?? [];
	return {
		cells: rows.flatMap(({ changes }, row) => columns.map(({ change }, column) => ({ row, column, changes: [...changes, change] }))),
		rows: rows.map(({ label }) => label),
		columns: columns.map(({ label }) => label),
	};
}
