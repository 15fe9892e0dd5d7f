import { brokenParquet } from './parquet-error.js';
import { MAX_THRIFT_DEPTH } from './parquet-limits.js';

/** A value of Thrift's compact protocol. Integers of 64 bits are rounded to numbers. */
export type ThriftValue = boolean | number | Uint8Array | readonly ThriftValue[] | ThriftStruct;
/** Fields by their ids. */
export type ThriftStruct = ReadonlyMap<number, ThriftValue>;

/** What a struct may hold. */
export interface ThriftLimits {
	/** Values of all kinds, all together. */
	readonly values: number;
	/** Bytes of one string that lies inside five structs or more (a statistic of a footer). */
	readonly deepString?: number | undefined;
}

/** The bytes end inside a struct: more of the file may help. */
export class ThriftEnd extends Error {}

/**
 * One struct of Thrift's compact protocol, every length checked against the bytes that are there before anything is made of it:
 * lists of 2^31 entries in ten bytes and structs a million deep end here.
 * Source of the encoding: apache/thrift doc/specs/thrift-compact-protocol.md.
 *
 * @param file for messages
 * @returns the struct and where it ends
 * @throws {ThriftEnd} when the bytes end early
 * @throws {FormatError} `E_PARQUET` for what cannot be a struct of Parquet
 */
export function readThrift(
	file: string,
	bytes: Uint8Array,
	start: number,
	limits: ThriftLimits,
): { readonly struct: ThriftStruct; readonly end: number } {
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	let at = start;
	let values = 0;

	function byte(): number {
		if (at >= bytes.byteLength) throw new ThriftEnd('the bytes end inside a header');
		return view.getUint8(at++);
	}

	/** At most `most` bytes of seven bits. */
	function varint(most: 5 | 10): number {
		let value = 0;
		for (let i = 0; i < most; i++) {
			const part = byte();
			value += (part & 0x7f) * 2 ** (7 * i);
			if (part < 0x80) {
				if (most === 5 && value > 0xffff_ffff) break;
				return value;
			}
		}
		throw brokenParquet(file, 'a number in a header is too long');
	}

	function zigzag(most: 5 | 10): number {
		const value = varint(most);
		return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
	}

	function element(type: number, depth: number, structs: number, inList: boolean): ThriftValue {
		if (++values > limits.values) throw brokenParquet(file, `a header holds more than ${limits.values} values, which is the limit`);
		if (depth > MAX_THRIFT_DEPTH) throw brokenParquet(file, `a header has more than ${MAX_THRIFT_DEPTH} levels, which is the limit`);
		switch (type) {
			case 1:
			case 2:
				return inList ? byte() === 1 : type === 1;
			case 3:
				return (byte() << 24) >> 24;
			case 4:
			case 5:
				return zigzag(5);
			case 6:
				return zigzag(10);
			case 7: {
				need(8);
				at += 8;
				return view.getFloat64(at - 8, true);
			}
			case 8:
				return string(structs);
			case 9:
				return list(depth, structs);
			case 12:
				return struct(depth, structs);
			default:
				throw brokenParquet(file, `a header holds a value of kind ${type}`);
		}
	}

	function need(length: number): void {
		if (length > bytes.byteLength - at) throw new ThriftEnd('the bytes end inside a header');
	}

	function string(structs: number): Uint8Array {
		const length = varint(5);
		if (structs >= 5 && length > (limits.deepString ?? Number.POSITIVE_INFINITY)) {
			throw brokenParquet(file, `a statistic has ${length} bytes, and ${limits.deepString} are the limit`);
		}
		need(length);
		at += length;
		return bytes.subarray(at - length, at);
	}

	function list(depth: number, structs: number): readonly ThriftValue[] {
		const head = byte();
		const size = head >> 4 === 15 ? varint(5) : head >> 4;
		// Every entry has a byte at least.
		need(size);
		const entries: ThriftValue[] = [];
		for (let i = 0; i < size; i++) entries.push(element(head & 15, depth + 1, structs, true));
		return entries;
	}

	function struct(depth: number, structs: number): ThriftStruct {
		const fields = new Map<number, ThriftValue>();
		let id = 0;
		for (;;) {
			const head = byte();
			const type = head & 15;
			if (type === 0) return fields;
			id = head >> 4 === 0 ? zigzag(5) : id + (head >> 4);
			fields.set(id, element(type, depth + 1, structs + 1, false));
		}
	}

	return { struct: struct(0, 0), end: at };
}

/** A field that is a whole number; undefined when it is left out or something else. */
export function thriftNumber(struct: ThriftStruct | undefined, id: number): number | undefined {
	const value = struct?.get(id);
	return typeof value === 'number' && Number.isSafeInteger(value) ? value : undefined;
}

/** A field that is a struct; undefined when it is left out or something else. */
export function thriftStruct(struct: ThriftStruct, id: number): ThriftStruct | undefined {
	const value = struct.get(id);
	return value instanceof Map ? value : undefined;
}
