import { DTYPES, type DType } from '../dtype.js';
import type { HeaderEntry } from './header-scan.js';
import type { JsonCursor } from './json-cursor.js';

/** Dtypes by their names, which are never looked up as properties. */
export const DTYPE_NAMES: ReadonlyMap<string, DType> = new Map(DTYPES.map((d) => [d, d]));

/**
 * An entry just as the format's own writer spells it, every number exact. One native match costs a third of
 * reading its tokens by code that is not compiled yet.
 */
const USUAL_ENTRY =
	/\{"dtype":"([A-Z0-9_]{2,12})","shape":\[((?:(?:0|[1-9]\d{0,14})(?:,(?:0|[1-9]\d{0,14})){0,7})?)\],"data_offsets":\[(0|[1-9]\d{0,14}),(0|[1-9]\d{0,14})\]\}/y;

/** The most that `USUAL_ENTRY` takes of the like. */
const MAX_USUAL_DIGITS = 15;
const MAX_USUAL_RANK = 8;
/** Entries read in this process before reading them by hand is compiled code, and then faster than matching. */
const COMPILED_AFTER = 4096;
const OFFSETS = '],"data_offsets":[';
const COMMA = 0x2c;
const CLOSE_BRACKET = 0x5d;
const CLOSE_BRACE = 0x7d;

let entriesRead = 0;

/** Reads entries that are spelled as the format's own writer does it; whatever differs, and every error, is for others. */
export class UsualEntries {
	readonly #cursor: JsonCursor;
	/** The header as bytes, where one is one character: three times faster to read. */
	readonly #ascii: Uint8Array | undefined;
	/** How the last entry began: the next has nearly always the same dtype. */
	#lead = '';
	#dtype: DType = 'F32';

	/** @param bytes what the text of `cursor` was decoded from */
	constructor(cursor: JsonCursor, bytes: Uint8Array) {
		this.#cursor = cursor;
		this.#ascii = bytes.byteLength === cursor.text.length ? bytes : undefined;
	}

	/** The entry that comes next (consumed), or undefined (nothing consumed). */
	take(name: string): HeaderEntry | undefined {
		const ascii = this.#ascii;
		if (ascii === undefined || entriesRead < COMPILED_AFTER) entriesRead++;
		else {
			const entry = this.#byHand(ascii, name);
			if (entry !== undefined) return entry;
		}
		return this.#matched(name);
	}

	#matched(name: string): HeaderEntry | undefined {
		const cursor = this.#cursor;
		const from = cursor.pos;
		const match = cursor.match(USUAL_ENTRY);
		if (match === null) return undefined;
		const [, word = '', dims = '', begin, end] = match;
		const dtype = DTYPE_NAMES.get(word);
		if (dtype === undefined) {
			cursor.pos = from;
			return undefined;
		}
		if (dtype !== this.#dtype || this.#lead === '') {
			this.#dtype = dtype;
			this.#lead = `{"dtype":"${dtype}","shape":[`;
		}
		return { name, dtype, shape: dims === '' ? [] : dims.split(',').map(Number), begin: Number(begin), end: Number(end) };
	}

	#byHand(ascii: Uint8Array, name: string): HeaderEntry | undefined {
		const { text, pos } = this.#cursor;
		const lead = this.#lead;
		place = pos + lead.length;
		if (lead === '' || text.slice(pos, place) !== lead) return undefined;
		const shape = shapeAt(ascii);
		if (shape === undefined) return undefined;
		if (text.slice(place, place + OFFSETS.length) !== OFFSETS) return undefined;
		place += OFFSETS.length;
		const begin = numberAt(ascii);
		if (begin < 0 || ascii[place++] !== COMMA) return undefined;
		const end = numberAt(ascii);
		if (end < 0 || ascii[place] !== CLOSE_BRACKET || ascii[place + 1] !== CLOSE_BRACE) return undefined;
		this.#cursor.pos = place + 2;
		return { name, dtype: this.#dtype, shape, begin, end };
	}
}

/** Where `numberAt` reads. */
let place = 0;

/** The sizes at `place`, up to the bracket that closes them (not consumed); undefined for what is not usual. */
function shapeAt(ascii: Uint8Array): readonly number[] | undefined {
	if (ascii[place] === CLOSE_BRACKET) return SCALAR;
	const first = numberAt(ascii);
	if (first < 0) return undefined;
	if (ascii[place] !== COMMA) return [first];
	place++;
	const second = numberAt(ascii);
	if (second < 0) return undefined;
	// A literal has room for its elements only; one that grows has room for seventeen.
	if (ascii[place] !== COMMA) return [first, second];
	const shape = [first, second];
	while (ascii[place] === COMMA) {
		place++;
		const size = numberAt(ascii);
		if (size < 0 || shape.length === MAX_USUAL_RANK) return undefined;
		shape.push(size);
	}
	return shape;
}

const SCALAR: readonly number[] = [];

/** The whole number at `place` (consumed), of at most 15 digits and without leading zeros; else -1. */
function numberAt(ascii: Uint8Array): number {
	const from = place;
	let at = from;
	let value = 0;
	for (let digit = (ascii[at] ?? 0) - 0x30; digit >= 0 && digit <= 9; digit = (ascii[++at] ?? 0) - 0x30) value = 10 * value + digit;
	place = at;
	const digits = at - from;
	if (digits < 1 || digits > MAX_USUAL_DIGITS || (digits > 1 && ascii[from] === 0x30)) return -1;
	return value;
}
