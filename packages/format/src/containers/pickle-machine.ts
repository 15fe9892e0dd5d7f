import { FormatError, quote } from '../errors.js';
import { MAX_PICKLE_LONG_BYTES, MAX_PICKLE_OBJECTS, MAX_PICKLE_OPS } from '../limits.js';
import { build, type ConstructHost, checkedKey, construct } from './pickle-construct.js';
import { PickleCursor } from './pickle-cursor.js';
import { findGlobal } from './pickle-globals.js';
import { PickleStack } from './pickle-stack.js';
import { readLong, readTextOpcode } from './pickle-text.js';
import { keyLabel, type PyDict, type PyTuple, type PyValue, typeName } from './pickle-value.js';

export interface PickleOptions {
	/** Names the pickle in messages: `data.pkl of x.pt`. */
	readonly what: string;
	/** Called for BINPERSID, at once: sizes are checked against the file before anything uses them. */
	readonly persistentLoad: (id: PyValue, where: string) => PyValue;
}

export interface PickleResult {
	readonly value: PyValue;
	/** Offset behind STOP. */
	readonly end: number;
	/** Keys that were set twice in one dict; Python keeps the last value. */
	readonly duplicateKeys: readonly string[];
	/** Opaque classes that were named (`module.name`). */
	readonly opaque: readonly string[];
}

/**
 * Interpret one pickle (protocols 0 to 5) into inert data. An allow-list of exact names, our own constructors, a
 * budget for every kind of growth, one loop without recursion; nothing from the file is ever executed.
 *
 * @throws {FormatError} `E_PICKLE_GLOBAL`, `E_PICKLE_OPCODE`, `E_PICKLE_CORRUPT` (`PickleEndsEarly` when bytes are
 * missing), `E_PICKLE_PERSID`, `E_PICKLE_TENSOR`, `E_UNSUPPORTED_TENSOR`, `E_LIMIT`.
 */
export function runPickle(bytes: Uint8Array, start: number, options: PickleOptions): PickleResult {
	return new PickleMachine(bytes, start, options).run();
}

class PickleMachine implements ConstructHost {
	readonly #cursor: PickleCursor;
	readonly #options: PickleOptions;
	readonly #stack: PickleStack;
	readonly #duplicates: string[] = [];
	readonly #opaque = new Set<string>();
	#objects = 0;

	constructor(bytes: Uint8Array, start: number, options: PickleOptions) {
		this.#cursor = new PickleCursor(bytes, start, options.what);
		this.#options = options;
		this.#stack = new PickleStack(() => this.where());
	}

	run(): PickleResult {
		for (let ops = 0; ops < MAX_PICKLE_OPS; ops++) {
			const op = this.#cursor.u8();
			if (op === 0x2e) {
				const value = this.#stack.pop();
				return { value, end: this.#cursor.at, duplicateKeys: this.#duplicates, opaque: [...this.#opaque] };
			}
			this.#step(op);
		}
		throw this.#limit(`more than ${MAX_PICKLE_OPS} instructions`);
	}

	#step(op: number): void {
		const c = this.#cursor;
		switch (op) {
			case 0x80: {
				const protocol = c.u8();
				if (protocol > 5) throw this.#opcode(`declares pickle protocol ${protocol}; protocols up to 5 are known`);
				break;
			}
			case 0x95: // FRAME: only its length is looked at
				c.need(c.u64());
				break;
			case 0x28: // MARK
				this.#stack.mark();
				break;
			case 0x30: // POP: of a mark, when nothing lies above it
				if (!this.#stack.popBareMark()) this.#stack.pop();
				break;
			case 0x31: // POP_MARK
				this.#stack.popToMark();
				break;
			case 0x32: // DUP
				this.#stack.push(this.#stack.top());
				break;
			case 0x4e:
				this.#stack.push(null);
				break;
			case 0x88:
				this.#stack.push(true);
				break;
			case 0x89:
				this.#stack.push(false);
				break;
			case 0x4a: // BININT
				this.#stack.push(c.i32());
				break;
			case 0x4b: // BININT1
				this.#stack.push(c.u8());
				break;
			case 0x4d: // BININT2
				this.#stack.push(c.u16());
				break;
			case 0x8a: // LONG1
				this.#stack.push(readLong(c.take(c.u8())));
				break;
			case 0x8b: {
				// LONG4: its length is signed
				const length = c.i32();
				if (length < 0) throw this.#corrupt('has an integer of negative length');
				c.need(length);
				if (length > MAX_PICKLE_LONG_BYTES) throw this.#limit(`an integer of ${length} bytes`);
				this.#stack.push(readLong(c.take(length)));
				break;
			}
			case 0x47: // BINFLOAT
				this.#stack.push({ t: 'float', value: c.f64() });
				break;
			case 0x58: // BINUNICODE
				this.#stack.push(c.text(c.u32()));
				break;
			case 0x8c: // SHORT_BINUNICODE
				this.#stack.push(c.text(c.u8()));
				break;
			case 0x8d: // BINUNICODE8
				this.#stack.push(c.text(c.u64()));
				break;
			case 0x54: // BINSTRING: Python 2, signed length
				this.#stack.push(c.text(this.#signedLength()));
				break;
			case 0x55: // SHORT_BINSTRING
				this.#stack.push(c.text(c.u8()));
				break;
			case 0x42: // BINBYTES
				this.#pushBytes(c.take(c.u32()));
				break;
			case 0x43: // SHORT_BINBYTES
				this.#pushBytes(c.take(c.u8()));
				break;
			case 0x8e: // BINBYTES8
			case 0x96: // BYTEARRAY8
				this.#pushBytes(c.take(c.u64()));
				break;
			case 0x49:
			case 0x4c:
			case 0x46:
			case 0x53:
			case 0x56:
				this.#stack.push(readTextOpcode(String.fromCharCode(op) as 'I' | 'L' | 'F' | 'S' | 'V', c));
				break;
			default:
				this.#stepContainer(op);
		}
	}

	#stepContainer(op: number): void {
		switch (op) {
			case 0x5d: // EMPTY_LIST
				this.charge(1);
				this.#stack.push({ t: 'list', items: [] });
				break;
			case 0x7d: // EMPTY_DICT
				this.charge(1);
				this.#stack.push({ t: 'dict', type: 'dict', entries: undefined, attributes: undefined });
				break;
			case 0x8f: // EMPTY_SET
				this.charge(1);
				this.#stack.push({ t: 'set', items: [] });
				break;
			case 0x29: // EMPTY_TUPLE
				this.#stack.push(EMPTY_TUPLE);
				break;
			case 0x85:
			case 0x86:
			case 0x87: // TUPLE1 to TUPLE3
				this.#pushTuple(this.#stack.popMany(op - 0x84));
				break;
			case 0x74: // TUPLE
				this.#pushTuple(this.#stack.popToMark());
				break;
			case 0x91: // FROZENSET
				this.charge(1);
				this.#stack.push({ t: 'set', items: this.#stack.popToMark() });
				break;
			case 0x6c: // LIST
				this.charge(1);
				this.#stack.push({ t: 'list', items: this.#stack.popToMark() });
				break;
			case 0x64: {
				// DICT
				const items = this.#stack.popToMark();
				this.charge(1);
				const dict: PyDict = { t: 'dict', type: 'dict', entries: undefined, attributes: undefined };
				this.#setItems(dict, items);
				this.#stack.push(dict);
				break;
			}
			case 0x61: // APPEND
				this.#append(this.#stack.popMany(1));
				break;
			case 0x65: // APPENDS
				this.#append(this.#stack.popToMark());
				break;
			case 0x90: {
				// ADDITEMS
				const items = this.#stack.popToMark();
				const set = this.#stack.top();
				if (typeof set !== 'object' || set === null || set.t !== 'set') throw this.#opcode(`adds items to a ${typeName(set)}`);
				for (const item of items) set.items.push(item);
				break;
			}
			case 0x73: // SETITEM
				this.#setItemsOnTop(this.#stack.popMany(2));
				break;
			case 0x75: // SETITEMS
				this.#setItemsOnTop(this.#stack.popToMark());
				break;
			default:
				this.#stepObject(op);
		}
	}

	#stepObject(op: number): void {
		const c = this.#cursor;
		switch (op) {
			case 0x71: // BINPUT
				this.#stack.put(c.u8());
				break;
			case 0x72: // LONG_BINPUT
				this.#stack.put(c.u32());
				break;
			case 0x94: // MEMOIZE
				this.#stack.put(this.#stack.remembered);
				break;
			case 0x70: // PUT
				this.#stack.put(this.#index());
				break;
			case 0x68: // BINGET
				this.#stack.get(c.u8());
				break;
			case 0x6a: // LONG_BINGET
				this.#stack.get(c.u32());
				break;
			case 0x67: // GET
				this.#stack.get(this.#index());
				break;
			case 0x63: // GLOBAL
				this.#global(c.decode(c.line()), c.decode(c.line()));
				break;
			case 0x93: {
				// STACK_GLOBAL
				const [module, name] = this.#stack.popMany(2);
				if (typeof module !== 'string' || typeof name !== 'string') throw this.#corrupt('names a global by values that are no strings');
				this.#global(module, name);
				break;
			}
			case 0x52: // REDUCE
			case 0x81: {
				// NEWOBJ
				const [callee, args] = this.#stack.popMany(2);
				this.#call(callee ?? null, args ?? null);
				break;
			}
			case 0x92: {
				// NEWOBJ_EX
				const [callee, args, named] = this.#stack.popMany(3);
				if (typeof named !== 'object' || named === null || named.t !== 'dict' || named.entries !== undefined) {
					throw this.#opcode('makes an object with named arguments');
				}
				this.#call(callee ?? null, args ?? null);
				break;
			}
			case 0x62: {
				// BUILD
				const state = this.#stack.pop();
				build(this.#stack.top(), state, this);
				break;
			}
			case 0x51: // BINPERSID
				this.#stack.push(this.#options.persistentLoad(this.#stack.pop(), this.where()));
				break;
			case 0x50: // PERSID
				throw new FormatError('E_PICKLE_PERSID', `${this.where()} has a text persistent id; torch writes none, so the file is refused.`);
			case 0x69: {
				// INST names a class and calls it: say which, then refuse it all the same
				findGlobal(c.decode(c.line()), c.decode(c.line()), this.where());
				throw this.#opcode('uses INST, which no pickle of weights does');
			}
			default:
				throw this.#opcode(`has the instruction 0x${op.toString(16).padStart(2, '0')}, which is not allowed`);
		}
	}

	where(): string {
		return `${this.#options.what} (byte ${this.#cursor.at})`;
	}

	charge(units: number): void {
		this.#objects += units;
		if (this.#objects > MAX_PICKLE_OBJECTS) throw this.#limit(`more than ${MAX_PICKLE_OBJECTS} containers`);
	}

	chargeBytes(count: number): void {
		this.#cursor.charge(count);
	}

	setItem(dict: PyDict, key: PyValue, value: PyValue): void {
		const k = checkedKey(key, this.where());
		// A long key that is remembered costs two bytes of pickle and a comparison of its whole length, every time.
		this.charge(typeof key === 'string' ? 1 + Math.floor(key.length / KEY_CHARS_PER_UNIT) : 1);
		if (dict.entries === undefined) {
			this.charge(3);
			dict.entries = new Map();
		}
		const old = dict.entries.get(k);
		if (old === undefined) {
			dict.entries.set(k, { key, value });
			return;
		}
		old.value = value;
		// A Counter's or a deliberate re-set of the same value changes nothing.
		if (this.#duplicates.length < 16) this.#duplicates.push(keyLabel(key));
	}

	#call(callee: PyValue, args: PyValue): void {
		if (typeof callee !== 'object' || callee === null || callee.t !== 'global') {
			throw this.#opcode(`calls a ${typeName(callee)}, which is nothing that can be called`);
		}
		if (typeof args !== 'object' || args === null || args.t !== 'tuple') throw this.#corrupt('calls with arguments that are no tuple');
		this.#stack.push(construct(callee, args.items, this));
	}

	#global(module: string, name: string): void {
		const found = findGlobal(module, name, this.where());
		if (found.role.kind === 'opaque') this.#opaque.add(`${module}.${name}`);
		this.#stack.push(found);
	}

	#append(items: PyValue[]): void {
		const list = this.#stack.top();
		if (typeof list === 'object' && list !== null && list.t === 'opaque') return;
		if (typeof list !== 'object' || list === null || list.t !== 'list') throw this.#opcode(`appends to a ${typeName(list)}`);
		if (list.items.length === 0) list.items = items;
		else for (const item of items) list.items.push(item);
	}

	#setItemsOnTop(items: readonly PyValue[]): void {
		const dict = this.#stack.top();
		if (typeof dict === 'object' && dict !== null && dict.t === 'opaque') return;
		// Never on anything else: CVE-2026-24747 was SETITEM on a tensor.
		if (typeof dict !== 'object' || dict === null || dict.t !== 'dict') throw this.#opcode(`sets items on a ${typeName(dict)}`);
		this.#setItems(dict, items);
	}

	#setItems(dict: PyDict, items: readonly PyValue[]): void {
		if (items.length % 2 !== 0) throw this.#corrupt('sets a dict key without a value');
		for (let k = 0; k < items.length; k += 2) this.setItem(dict, items[k] ?? null, items[k + 1] ?? null);
	}

	#pushTuple(items: readonly PyValue[]): void {
		this.charge(1);
		this.#stack.push({ t: 'tuple', items });
	}

	#pushBytes(bytes: Uint8Array): void {
		this.charge(1);
		this.#stack.push({ t: 'bytes', bytes: bytes.slice() });
	}

	/** Memo index of PUT and GET, as text. */
	#index(): number {
		const text = this.#cursor.decode(this.#cursor.line());
		if (!/^\d{1,10}$/.test(text)) throw this.#corrupt(`has the memo index ${quote(text)}`);
		return Number(text);
	}

	#signedLength(): number {
		const length = this.#cursor.i32();
		if (length < 0) throw this.#corrupt('has a string of negative length');
		return length;
	}

	#limit(what: string): FormatError {
		return new FormatError('E_LIMIT', `${this.where()} has ${what}; no file of weights needs that.`);
	}

	#opcode(what: string): FormatError {
		return new FormatError('E_PICKLE_OPCODE', `${this.where()} ${what}; the file is refused.`);
	}

	#corrupt(what: string): FormatError {
		return new FormatError('E_PICKLE_CORRUPT', `${this.where()} ${what}; the file is damaged, fetch it again.`);
	}
}

/** Characters of a dict key that cost as much as a container. */
const KEY_CHARS_PER_UNIT = 1024;

const EMPTY_TUPLE: PyTuple = { t: 'tuple', items: [] };
