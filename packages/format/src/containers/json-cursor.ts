import { FormatError, quote } from '../errors.js';
import { groupDigits } from '../group-digits.js';
import { MAX_JSON_DEPTH } from '../limits.js';
import { isWellFormed } from '../utf8-order.js';

/** What `JsonCursor.integer` gives for a JSON number that is no exact non-negative integer. */
export const NOT_EXACT = {
	negative: -1,
	fractional: -2,
	tooLarge: -3,
} as const;

const QUOTE = 0x22;
const BACKSLASH_TEXT = '\\';
const COMMA = 0x2c;
const COLON = 0x3a;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
/** Strings that are searched for control characters before all of the text is. */
const MANY_STRINGS = 32;

/**
 * Strict RFC 8259 reading of a text from left to right, one token at a time, so that the caller sees what
 * `JSON.parse` hides: duplicate keys, `1.0` against `1`, integers that no double holds, absurd nesting.
 * Nothing is allocated but the strings that are asked for.
 *
 * Every method throws `FormatError` `E_HEADER_JSON` on text that is not JSON.
 */
export class JsonCursor {
	readonly text: string;
	/** Index of the next UTF-16 unit. */
	pos = 0;
	/** Whether the last string was written with escapes. */
	escaped = false;
	/** Whether a control character stands anywhere in the text; where none does, strings need not be looked at one by one. */
	#controls: boolean | undefined;
	/** Strings looked at one by one, before the whole text was. */
	#looked = 0;
	/** The first backslash that is not behind `pos`, once asked for. Searching natively beats a loop until that is compiled. */
	#backslash = -1;

	constructor(text: string) {
		this.text = text;
	}

	/** The next unit after white space, not consumed; NaN at the end. */
	peek(): number {
		const { text } = this;
		let i = this.pos;
		let c = text.charCodeAt(i);
		while (c === 0x20 || c === 0x0a || c === 0x0d || c === 0x09) c = text.charCodeAt(++i);
		this.pos = i;
		return c;
	}

	/** Consume one unit that must come next, white space aside. */
	expect(unit: number): void {
		if (this.peek() !== unit) this.fail(`expected ${quote(String.fromCharCode(unit))}`);
		this.pos++;
	}

	/** After a member: true when a comma (consumed) announces another, false when `close` (consumed) ends the container. */
	more(close: number): boolean {
		const c = this.peek();
		if (c !== COMMA && c !== close) this.fail(`expected "," or ${quote(String.fromCharCode(close))}`);
		this.pos++;
		return c === COMMA;
	}

	/** True when the container just opened is empty (its closer is consumed). */
	empty(close: number): boolean {
		if (this.peek() !== close) return false;
		this.pos++;
		return true;
	}

	/** A string, unescaped. Raw control characters, bad escapes and lone surrogates are refused. */
	string(): string {
		if (this.peek() !== QUOTE) this.fail('expected a string');
		const { text } = this;
		const start = this.pos + 1;
		const end = text.indexOf('"', start);
		if (this.#backslash < start) this.#backslash = this.#find(BACKSLASH_TEXT, start);
		if (end !== -1 && end < this.#backslash) {
			this.pos = end + 1;
			const value = text.slice(start, end);
			this.escaped = false;
			if (this.#mayHoldControls() && hasControl(value)) this.#failIn(start, 'a raw control character inside a string');
			return value;
		}
		return this.#escapedString(start, end);
	}

	/** A key and its colon. */
	key(): string {
		const key = this.string();
		this.expect(COLON);
		return key;
	}

	/** True when the key that comes next is just `plain` (free of quotation marks, backslashes and controls), and consumed with its colon. */
	takesKey(plain: string): boolean {
		const { text, pos } = this;
		const end = pos + 1 + plain.length;
		if (text.charCodeAt(pos) !== QUOTE || text.charCodeAt(end) !== QUOTE || text.charCodeAt(end + 1) !== COLON) return false;
		// Cutting and comparing is native from end to end, and six times faster than `startsWith`.
		if (text.slice(pos + 1, end) !== plain) return false;
		this.pos = end + 2;
		return true;
	}

	/** A number: its value when it is an integer from 0 to 2^53-1 written without `.` or exponent, else one of `NOT_EXACT`. */
	integer(): number {
		const { text } = this;
		let c = this.peek();
		let i = this.pos;
		const negative = c === 0x2d;
		if (negative) c = text.charCodeAt(++i);
		if (!isDigit(c)) this.fail('expected a number');
		let value = c - 0x30;
		c = text.charCodeAt(++i);
		if (value === 0 && isDigit(c)) this.fail('a number with a leading zero');
		// Inexact beyond 2^53, but never back below it, which is all that is asked.
		for (; isDigit(c); c = text.charCodeAt(++i)) value = value * 10 + (c - 0x30);
		let fractional = false;
		if (c === 0x2e) {
			fractional = true;
			c = text.charCodeAt(++i);
			if (!isDigit(c)) this.fail('a number with nothing after its point');
			while (isDigit(c)) c = text.charCodeAt(++i);
		}
		if (c === 0x65 || c === 0x45) {
			fractional = true;
			c = text.charCodeAt(++i);
			if (c === 0x2b || c === 0x2d) c = text.charCodeAt(++i);
			if (!isDigit(c)) this.fail('a number with an empty exponent');
			while (isDigit(c)) c = text.charCodeAt(++i);
		}
		this.pos = i;
		if (fractional) return NOT_EXACT.fractional;
		if (negative) return NOT_EXACT.negative;
		return value > Number.MAX_SAFE_INTEGER ? NOT_EXACT.tooLarge : value;
	}

	/** What a sticky expression matches at the very place of the cursor (consumed), or null. */
	match(sticky: RegExp): RegExpExecArray | null {
		sticky.lastIndex = this.pos;
		const match = sticky.exec(this.text);
		if (match !== null) this.pos = sticky.lastIndex;
		return match;
	}

	/** Pass over any one value, checking its syntax. `depth`: containers already open around it. */
	skipValue(depth: number): void {
		const closers: number[] = [];
		for (;;) {
			const c = this.peek();
			if (c === OPEN_BRACE || c === OPEN_BRACKET) {
				if (depth + closers.length >= MAX_JSON_DEPTH) this.fail(`nested deeper than ${MAX_JSON_DEPTH} levels`);
				this.pos++;
				const close = c === OPEN_BRACE ? CLOSE_BRACE : CLOSE_BRACKET;
				if (!this.empty(close)) {
					closers.push(close);
					if (c === OPEN_BRACE) this.key();
					continue;
				}
			} else this.#scalar(c);
			// A value is done: close what it ends, or go on to the next member.
			for (;;) {
				const close = closers.at(-1);
				if (close === undefined) return;
				if (this.more(close)) {
					if (close === CLOSE_BRACE) this.key();
					break;
				}
				closers.pop();
			}
		}
	}

	/** @throws {FormatError} `E_HEADER_JSON`, with the place and what stands there. */
	fail(what: string): never {
		const rest = this.text.slice(this.pos, this.pos + 24);
		const found = rest === '' ? 'where the header ends' : `at ${quote(rest)}`;
		throw new FormatError(
			'E_HEADER_JSON',
			`The safetensors header is not valid JSON: ${what}, ${found} (character ${groupDigits(this.pos)}); the file is damaged or was written by a broken tool.`,
			{ at: `header character ${this.pos}` },
		);
	}

	#scalar(c: number): void {
		if (c === QUOTE) this.string();
		else if (c === 0x2d || isDigit(c)) this.integer();
		else {
			const word = c === 0x74 ? 'true' : c === 0x66 ? 'false' : 'null';
			if (!this.text.startsWith(word, this.pos)) this.fail('expected a value');
			this.pos += word.length;
		}
	}

	/** The string from `start`, which holds a backslash or is not closed; `quote` is the first quotation mark in it. */
	#escapedString(start: number, quote: number): string {
		let end = quote;
		let backslash = this.#backslash;
		while (end !== -1 && backslash < end) {
			const next = backslash + 2;
			// Each search goes on from where the last one of its kind ended, so that all of them together are linear.
			if (end < next) end = this.text.indexOf('"', next);
			backslash = this.#find(BACKSLASH_TEXT, next);
		}
		this.#backslash = backslash;
		this.escaped = true;
		if (end === -1) this.#failIn(start, 'a string that is not closed');
		// The engine's own parser decodes this one token: it is exact, and strict about controls and escapes.
		let value: unknown;
		try {
			value = JSON.parse(this.text.slice(start - 1, end + 1));
		} catch {
			value = undefined;
		}
		if (typeof value !== 'string') this.#failIn(start, 'a bad escape or a raw control character inside a string');
		if (!isWellFormed(value)) this.#failIn(start, 'a string with half a surrogate pair');
		this.pos = end + 1;
		return value;
	}

	/** Asks the whole text only where there are many strings: of a header whose names are known few are left. */
	#mayHoldControls(): boolean {
		if (this.#controls === undefined && this.#looked++ >= MANY_STRINGS) this.#controls = hasControl(this.text);
		return this.#controls ?? true;
	}

	#find(what: string, from: number): number {
		const at = this.text.indexOf(what, from);
		return at === -1 ? Number.POSITIVE_INFINITY : at;
	}

	#failIn(start: number, what: string): never {
		this.pos = start - 1;
		this.fail(what);
	}
}

function hasControl(text: string): boolean {
	// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
	return /[\u0000-\u001f]/.test(text);
}

function isDigit(c: number): boolean {
	return c >= 0x30 && c <= 0x39;
}
