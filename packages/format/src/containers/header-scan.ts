import { DTYPES, type DType } from '../dtype.js';
import { type ErrorCode, FormatError, quote, type Warning } from '../errors.js';
import { groupDigits } from '../group-digits.js';
import { MAX_RANK, MAX_REMEMBERED_CHARS, MAX_TENSORS } from '../limits.js';
import { listBeginningWith, rememberNames } from '../name-lists.js';
import { JsonCursor, NOT_EXACT } from './json-cursor.js';
import { DTYPE_NAMES, UsualEntries } from './usual-entry.js';

/** One tensor as a header describes it; nothing about it is checked against the file yet. */
export interface HeaderEntry {
	readonly name: string;
	readonly dtype: DType;
	readonly shape: readonly number[];
	/** Byte offsets in the data section, end exclusive. */
	readonly begin: number;
	readonly end: number;
}

/** Everything a safetensors header says. */
export interface ScannedHeader {
	/** In the order of the header; names are distinct. */
	readonly entries: readonly HeaderEntry[];
	readonly metadata: ReadonlyMap<string, string>;
	/** `W_UNKNOWN_FIELD`, `W_NAME`. */
	readonly warnings: readonly Warning[];
}

const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;
const QUOTE = 0x22;
/** Distinct unknown fields that are named one by one. */
const MAX_FIELD_WARNINGS = 8;
/** Unknown fields of one entry. Known writers add none. */
const MAX_UNKNOWN_FIELDS = 64;

/**
 * Read the JSON of a safetensors header. Grammar and limits: huggingface/safetensors@24b0b28
 * safetensors/src/tensor.rs, and stricter where its reader loses something silently (duplicate keys, a null
 * `__metadata__`, entries written as arrays). White space before `{` is accepted as there.
 *
 * @param bytes the header without its length field.
 * @throws {FormatError} `E_HEADER_UTF8`, `E_HEADER_JSON`, `E_HEADER_NOT_OBJECT`, `E_DUPLICATE_KEY`, `E_METADATA`,
 *   `E_TENSOR_INFO`, `E_DTYPE`, `E_SHAPE`, `E_OFFSETS`, `E_LIMIT`.
 */
export function scanHeader(bytes: Uint8Array): ScannedHeader {
	const cursor = new JsonCursor(decodeHeader(bytes));
	const first = cursor.peek();
	if (Number.isNaN(first))
		throw new FormatError('E_HEADER_JSON', 'The safetensors header is empty; it must be a JSON object, "{}" at least.');
	if (first === 0xfeff) cursor.fail('it begins with a byte-order mark');
	if (first !== OPEN_BRACE) {
		cursor.skipValue(0);
		throw new FormatError('E_HEADER_NOT_OBJECT', 'The safetensors header is JSON but no object; it must map tensor names to entries.');
	}
	cursor.pos++;

	const entries: HeaderEntry[] = [];
	const usual = new UsualEntries(cursor, bytes);
	/** The names of a header read before, as long as these are the same: each is compared instead of cut out of the text. */
	let known: readonly string[] | undefined;
	/** Names, where they are not those of `known`, which is distinct in itself. */
	let seen: Set<string> | undefined;
	let plain = true;
	const fields = new UnknownFields();
	const warnings: Warning[] = [];
	let metadata: Map<string, string> | undefined;
	if (!cursor.empty(CLOSE_BRACE)) {
		do {
			let name = known?.[entries.length];
			if (name === undefined || !cursor.takesKey(name)) {
				name = cursor.key();
				if (name === '__metadata__') {
					if (metadata !== undefined) throw duplicate('The header', name, name);
					metadata = scanMetadata(cursor);
					continue;
				}
				plain &&= !cursor.escaped;
				if (entries.length === 0) known = listBeginningWith(name)?.names;
				if (known?.[entries.length] !== name) {
					known = undefined;
					seen ??= new Set(entries.map((entry) => entry.name));
					if (seen.has(name)) throw duplicate('The header', name, name);
					seen.add(name);
				}
			}
			if (entries.length >= MAX_TENSORS) {
				throw new FormatError('E_LIMIT', `The file has more than ${groupDigits(MAX_TENSORS)} tensors, which is the limit.`);
			}
			entries.push(usual.take(name) ?? scanEntry(cursor, name, fields));
		} while (cursor.more(CLOSE_BRACE));
	}
	if (!Number.isNaN(cursor.peek())) cursor.fail('something other than padding after the closing brace');
	if (seen?.has('') ?? entries.some((entry) => entry.name === ''))
		warnings.push({ code: 'W_NAME', message: 'One tensor has the empty string as its name.', at: '' });
	warnings.push(...fields.warnings());
	// Names are parts of the text, which lives as long as they do; and one with escapes cannot be compared with a text.
	if (plain && cursor.text.length <= MAX_REMEMBERED_CHARS && known?.length !== entries.length)
		rememberNames(entries.map((entry) => entry.name));
	return { entries, metadata: metadata ?? new Map(), warnings };
}

/** One decode of the whole header: names and values are then slices of it, and validity costs nothing extra. */
function decodeHeader(bytes: Uint8Array): string {
	try {
		return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
	} catch (cause) {
		throw new FormatError(
			'E_HEADER_UTF8',
			'The safetensors header is not valid UTF-8; the file is damaged or was written by a broken tool.',
			{
				cause,
			},
		);
	}
}

function scanMetadata(cursor: JsonCursor): Map<string, string> {
	const metadata = new Map<string, string>();
	if (cursor.peek() !== OPEN_BRACE) {
		cursor.skipValue(1);
		throw new FormatError('E_METADATA', 'The header entry "__metadata__" is no object; it must map strings to strings.', {
			at: '__metadata__',
		});
	}
	cursor.pos++;
	if (cursor.empty(CLOSE_BRACE)) return metadata;
	do {
		const key = cursor.key();
		if (metadata.has(key)) throw duplicate('The header entry "__metadata__"', key, `__metadata__.${key}`);
		if (cursor.peek() !== QUOTE) {
			cursor.skipValue(2);
			throw new FormatError(
				'E_METADATA',
				`The value of ${quote(key)} in "__metadata__" is no string; safetensors metadata holds strings only.`,
				{ at: `__metadata__.${key}` },
			);
		}
		metadata.set(key, cursor.string());
	} while (cursor.more(CLOSE_BRACE));
	return metadata;
}

function scanEntry(cursor: JsonCursor, name: string, fields: UnknownFields): HeaderEntry {
	if (cursor.peek() !== OPEN_BRACE) {
		cursor.skipValue(1);
		throw info(name, 'is no object; it needs "dtype", "shape" and "data_offsets"');
	}
	cursor.pos++;
	let dtype: DType | undefined;
	let shape: number[] | undefined;
	let offsets: number[] | undefined;
	let unknown: Set<string> | undefined;
	if (!cursor.empty(CLOSE_BRACE)) {
		do {
			const key = cursor.key();
			if (key === 'dtype') {
				if (dtype !== undefined) throw duplicate(`The entry of tensor ${quote(name)}`, key, name);
				dtype = scanDtype(cursor, name);
			} else if (key === 'shape') {
				if (shape !== undefined) throw duplicate(`The entry of tensor ${quote(name)}`, key, name);
				shape = scanIntegers(cursor, name, key, 'E_SHAPE', MAX_RANK);
			} else if (key === 'data_offsets') {
				if (offsets !== undefined) throw duplicate(`The entry of tensor ${quote(name)}`, key, name);
				offsets = scanIntegers(cursor, name, key, 'E_OFFSETS', 2);
			} else {
				unknown ??= new Set();
				if (unknown.has(key)) throw duplicate(`The entry of tensor ${quote(name)}`, key, name);
				if (unknown.size === MAX_UNKNOWN_FIELDS) {
					throw new FormatError(
						'E_LIMIT',
						`The header entry of tensor ${quote(name)} has more than ${MAX_UNKNOWN_FIELDS} unknown fields.`,
						{
							at: name,
						},
					);
				}
				unknown.add(key);
				fields.note(key, name);
				cursor.skipValue(2);
			}
		} while (cursor.more(CLOSE_BRACE));
	}
	if (dtype === undefined) throw info(name, 'has no "dtype"');
	if (shape === undefined) throw info(name, 'has no "shape"');
	if (offsets === undefined) throw info(name, 'has no "data_offsets"');
	const [begin, end] = offsets;
	if (begin === undefined || end === undefined) throw info(name, `has ${offsets.length} numbers in "data_offsets"; it needs two`);
	return { name, dtype, shape, begin, end };
}

function scanDtype(cursor: JsonCursor, name: string): DType {
	if (cursor.peek() !== QUOTE) {
		cursor.skipValue(2);
		throw info(name, 'has a "dtype" that is no string');
	}
	const word = cursor.string();
	const dtype = DTYPE_NAMES.get(word);
	if (dtype === undefined) {
		throw new FormatError(
			'E_DTYPE',
			`Tensor ${quote(name)} has the unknown dtype ${quote(word)}; safetensors knows ${DTYPES.join(', ')}.`,
			{ at: name },
		);
	}
	return dtype;
}

/** An array of exact integers, at most `most` of them: counted while reading, so that 45 million are never kept. */
function scanIntegers(cursor: JsonCursor, name: string, key: string, code: ErrorCode, most: number): number[] {
	if (cursor.peek() !== OPEN_BRACKET) {
		cursor.skipValue(2);
		throw info(name, `has a "${key}" that is no array`);
	}
	cursor.pos++;
	const values: number[] = [];
	if (cursor.empty(CLOSE_BRACKET)) return values;
	do {
		if (values.length === most) {
			if (key === 'data_offsets') throw info(name, 'has more than two numbers in "data_offsets"');
			throw new FormatError('E_LIMIT', `Tensor ${quote(name)} has more than ${most} dimensions, which is the limit.`, { at: name });
		}
		const c = cursor.peek();
		if (c !== 0x2d && !(c >= 0x30 && c <= 0x39)) {
			cursor.skipValue(3);
			throw info(name, `has something other than a number in "${key}"`);
		}
		const from = cursor.pos;
		const value = cursor.integer();
		if (value < 0) throw inexact(code, name, key, value, cursor.text.slice(from, Math.min(cursor.pos, from + 60)));
		values.push(value);
	} while (cursor.more(CLOSE_BRACKET));
	return values;
}

function inexact(code: ErrorCode, name: string, key: string, kind: number, token: string): FormatError {
	const why =
		kind === NOT_EXACT.negative
			? 'is negative'
			: kind === NOT_EXACT.fractional
				? 'is not written as an integer'
				: 'is larger than 2^53-1, the largest exact integer here';
	return new FormatError(code, `Tensor ${quote(name)} has ${token} in "${key}", which ${why}; it must be a whole number from 0.`, {
		at: name,
	});
}

function info(name: string, what: string): FormatError {
	return new FormatError('E_TENSOR_INFO', `The header entry of tensor ${quote(name)} ${what}.`, { at: name });
}

function duplicate(where: string, key: string, at: string): FormatError {
	return new FormatError(
		'E_DUPLICATE_KEY',
		`${where} has the key ${quote(key)} twice, so that readers disagree about what it says; write the file again from its source.`,
		{ at },
	);
}

/** Unknown entry fields, by name, so that a file with a million of one kind gives one warning. */
class UnknownFields {
	readonly #seen = new Map<string, { readonly tensor: string; count: number }>();
	#others = 0;

	note(field: string, tensor: string): void {
		const known = this.#seen.get(field);
		if (known !== undefined) known.count++;
		else if (this.#seen.size < MAX_FIELD_WARNINGS) this.#seen.set(field, { tensor, count: 1 });
		else this.#others++;
	}

	warnings(): Warning[] {
		const list: Warning[] = [];
		for (const [field, { tensor, count }] of this.#seen) {
			const more = count === 1 ? '' : ` and of ${groupDigits(count - 1)} more`;
			list.push({
				code: 'W_UNKNOWN_FIELD',
				message: `The header entry of tensor ${quote(tensor)}${more} has the field ${quote(field)}, which safetensors does not know; it is ignored and not written again.`,
				at: tensor,
			});
		}
		if (this.#others > 0) {
			list.push({
				code: 'W_UNKNOWN_FIELD',
				message: `${groupDigits(this.#others)} more fields that safetensors does not know are ignored.`,
			});
		}
		return list;
	}
}
