/** Writes a protocol 2 pickle: the opcodes that torch itself writes and every `torch.load` knows. */
export class PickleWriter {
	readonly #parts: Uint8Array[] = [];
	/** Short texts and names that come often are written once and remembered. */
	readonly #memo = new Map<string, number>();
	#size = 0;

	constructor() {
		this.#put(0x80, 2);
	}

	/** Opcodes without arguments, as the characters that Python's `pickletools` gives them. */
	op(...codes: readonly Opcode[]): this {
		for (const code of codes) this.#put(OPCODES[code]);
		return this;
	}

	/** A global name, remembered after its first use. */
	global(module: string, name: string): this {
		return this.#remembered(`g${module}\n${name}`, () => this.#append(encode(`c${module}\n${name}\n`)));
	}

	/** A text that comes once. */
	text(text: string): this {
		const bytes = encode(text);
		this.#put(0x58, ...u32(bytes.byteLength));
		this.#append(bytes);
		return this;
	}

	/** A text that comes often. */
	commonText(text: string): this {
		return this.#remembered(`s${text}`, () => this.text(text));
	}

	/** A non-negative exact integer. */
	int(value: number): this {
		if (value < 0x100) this.#put(0x4b, value);
		else if (value < 0x10000) this.#put(0x4d, value & 255, value >>> 8);
		else if (value <= 0x7fffffff) this.#put(0x4a, ...u32(value));
		else {
			// LONG1: little-endian two's complement; the top byte of 2^53 is far from the sign bit.
			this.#put(0x8a, 8, ...u32(value % 0x1_0000_0000), ...u32(Math.floor(value / 0x1_0000_0000)));
		}
		return this;
	}

	/** A tuple of integers. */
	ints(values: readonly number[]): this {
		if (values.length === 0) return this.op('EMPTY_TUPLE');
		if (values.length > 3) this.op('MARK');
		for (const value of values) this.int(value);
		if (values.length > 3) return this.op('TUPLE');
		this.#put(0x84 + values.length);
		return this;
	}

	/** The pickle, ended. */
	finish(): Uint8Array {
		this.#put(0x2e);
		const out = new Uint8Array(this.#size);
		let at = 0;
		for (const part of this.#parts) {
			out.set(part, at);
			at += part.byteLength;
		}
		return out;
	}

	#remembered(key: string, write: () => void): this {
		const known = this.#memo.get(key);
		if (known !== undefined) {
			this.#put(0x68, known);
			return this;
		}
		write();
		// BINPUT has one byte; the texts and names of one file are some forty.
		if (this.#memo.size < 256) {
			this.#put(0x71, this.#memo.size);
			this.#memo.set(key, this.#memo.size);
		}
		return this;
	}

	#put(...bytes: readonly number[]): void {
		this.#append(Uint8Array.from(bytes));
	}

	#append(bytes: Uint8Array): void {
		this.#parts.push(bytes);
		this.#size += bytes.byteLength;
	}
}

const OPCODES = {
	MARK: 0x28,
	EMPTY_TUPLE: 0x29,
	TUPLE: 0x74,
	EMPTY_LIST: 0x5d,
	APPENDS: 0x65,
	SETITEMS: 0x75,
	REDUCE: 0x52,
	BINPERSID: 0x51,
	NEWFALSE: 0x89,
} as const;

/** Opcodes that `PickleWriter.op` writes. */
export type Opcode = keyof typeof OPCODES;

function u32(value: number): readonly number[] {
	return [value & 255, (value >>> 8) & 255, (value >>> 16) & 255, (value >>> 24) & 255];
}

function encode(text: string): Uint8Array {
	return new TextEncoder().encode(text);
}
