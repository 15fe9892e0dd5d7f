import { FormatError } from '../errors.js';
import { MAX_PICKLE_MARKS, MAX_PICKLE_MEMO, MAX_PICKLE_STACK } from '../limits.js';
import type { PyValue } from './pickle-value.js';

/**
 * Stack, marks and memo of the pickle machine, each within its budget. Nothing is ever popped below the newest open
 * mark.
 *
 * Every method that takes something throws `E_PICKLE_CORRUPT` where there is nothing, and every one that adds
 * throws `E_LIMIT` where there is too much.
 */
export class PickleStack {
	readonly #values: PyValue[] = [];
	/** Stack heights at the open marks. */
	readonly #marks: number[] = [];
	/** A Map: index 2^32 - 1 costs one entry, not an array. */
	readonly #memo = new Map<number, PyValue>();
	readonly #where: () => string;

	/** @param where names the pickle and the byte, for messages */
	constructor(where: () => string) {
		this.#where = where;
	}

	/** Values remembered so far: MEMOIZE uses it as the next index. */
	get remembered(): number {
		return this.#memo.size;
	}

	push(value: PyValue): void {
		if (this.#values.length >= MAX_PICKLE_STACK) throw this.#limit(`more than ${MAX_PICKLE_STACK} values on its stack`);
		this.#values.push(value);
	}

	top(): PyValue {
		const { length } = this.#values;
		if (length <= this.#floor()) throw this.#corrupt('takes a value from an empty stack');
		return this.#values[length - 1] ?? null;
	}

	pop(): PyValue {
		const value = this.top();
		// `pop` and not `length--`, which V8 makes slow on long arrays; so is `splice` below for a few values.
		this.#values.pop();
		return value;
	}

	/** The `count` uppermost values, lowest first. */
	popMany(count: number): PyValue[] {
		if (this.#values.length - count < this.#floor()) throw this.#corrupt('takes a value from an empty stack');
		const start = this.#values.length - count;
		// Of exact size: an array that grows from empty has room for 17, which a million small lists cannot afford.
		const taken = new Array<PyValue>(count);
		for (let k = 0; k < count; k++) taken[k] = this.#values[start + k] ?? null;
		for (let k = 0; k < count; k++) this.#values.pop();
		return taken;
	}

	mark(): void {
		if (this.#marks.length >= MAX_PICKLE_MARKS) throw this.#limit(`more than ${MAX_PICKLE_MARKS} open marks`);
		this.#marks.push(this.#values.length);
	}

	/** Close the newest mark when nothing lies above it; says whether it did. */
	popBareMark(): boolean {
		if (this.#marks.length === 0 || this.#floor() !== this.#values.length) return false;
		this.#marks.pop();
		return true;
	}

	/** Everything above the newest mark, which is closed. */
	popToMark(): PyValue[] {
		const height = this.#marks.pop();
		if (height === undefined) throw this.#corrupt('closes a mark that is not open');
		return this.#values.splice(height);
	}

	/** Remember the top under an index. */
	put(index: number): void {
		if (this.#memo.size >= MAX_PICKLE_MEMO) throw this.#limit(`more than ${MAX_PICKLE_MEMO} remembered values`);
		this.#memo.set(index, this.top());
	}

	/** Push what is remembered under an index. */
	get(index: number): void {
		const value = this.#memo.get(index);
		if (value === undefined) throw this.#corrupt(`asks for the remembered value ${index}, which was never set`);
		this.push(value);
	}

	#floor(): number {
		return this.#marks[this.#marks.length - 1] ?? 0;
	}

	#limit(what: string): FormatError {
		return new FormatError('E_LIMIT', `${this.#where()} has ${what}; no file of weights needs that.`);
	}

	#corrupt(what: string): FormatError {
		return new FormatError('E_PICKLE_CORRUPT', `${this.#where()} ${what}; the file is damaged, fetch it again.`);
	}
}
