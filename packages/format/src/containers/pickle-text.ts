import { FormatError, quote } from '../errors.js';
import { MAX_PICKLE_LONG_BYTES } from '../limits.js';
import type { PickleCursor } from './pickle-cursor.js';
import type { PyValue } from './pickle-value.js';

/** The text opcodes of protocols 0 and 1, which are harmless: INT, LONG, FLOAT, STRING, UNICODE. */
export function readTextOpcode(op: 'I' | 'L' | 'F' | 'S' | 'V', cursor: PickleCursor): PyValue {
	const line = cursor.line();
	switch (op) {
		case 'I': {
			const text = cursor.decode(line);
			if (text === '00') return false;
			if (text === '01') return true;
			return integer(text, cursor);
		}
		case 'L':
			return integer(cursor.decode(line).replace(/L$/, ''), cursor);
		case 'F': {
			const text = cursor.decode(line).trim();
			if (!/^[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|inf|nan)$/.test(text)) throw corrupt(cursor, `the float ${quote(text)}`);
			const value = text.endsWith('inf') ? (text.startsWith('-') ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY) : Number(text);
			return { t: 'float', value: text.endsWith('nan') ? Number.NaN : value };
		}
		case 'S':
			return cursor.decode(unescapeString(line, cursor));
		case 'V':
			return unescapeUnicode(line, cursor);
	}
}

/** A signed little-endian integer of LONG1 or LONG4: a number where exact, else a bigint. */
export function readLong(bytes: Uint8Array): number | bigint {
	let value = 0n;
	for (let k = bytes.byteLength - 1; k >= 0; k--) value = (value << 8n) | BigInt(bytes[k] ?? 0);
	return narrow(bytes.byteLength === 0 ? 0n : BigInt.asIntN(bytes.byteLength * 8, value));
}

function integer(text: string, cursor: PickleCursor): number | bigint {
	if (text.length > MAX_PICKLE_LONG_BYTES) {
		throw new FormatError(
			'E_LIMIT',
			`${cursor.what} holds an integer of ${text.length} digits; at most ${MAX_PICKLE_LONG_BYTES} are read.`,
		);
	}
	if (!/^[+-]?\d+$/.test(text)) throw corrupt(cursor, `the integer ${quote(text)}`);
	return narrow(BigInt(text.replace(/^\+/, '')));
}

function narrow(value: bigint): number | bigint {
	return value >= BigInt(Number.MIN_SAFE_INTEGER) && value <= BigInt(Number.MAX_SAFE_INTEGER) ? Number(value) : value;
}

const ESCAPES: ReadonlyMap<number, number> = new Map(
	[...'\\\'"abfnrtv'].map((c, k) => [c.charCodeAt(0), [92, 39, 34, 7, 8, 12, 10, 13, 9, 11][k] ?? 0]),
);

/** The quoted repr of a Python 2 str. */
function unescapeString(line: Uint8Array, cursor: PickleCursor): Uint8Array {
	const mark = line[0];
	if (line.byteLength < 2 || (mark !== 39 && mark !== 34) || line[line.byteLength - 1] !== mark)
		throw corrupt(cursor, 'a string without quotes');
	const out = new Uint8Array(line.byteLength);
	let n = 0;
	for (let k = 1; k < line.byteLength - 1; k++) {
		let c = line[k] ?? 0;
		if (c === 92) {
			const next = line[++k] ?? 0;
			const plain = ESCAPES.get(next);
			if (plain !== undefined && k < line.byteLength - 1) c = plain;
			else if (next === 120) {
				const hex = String.fromCharCode(line[k + 1] ?? 0, line[k + 2] ?? 0);
				if (!/^[0-9a-fA-F]{2}$/.test(hex) || k + 2 >= line.byteLength - 1) throw corrupt(cursor, 'a string with a broken escape');
				c = Number.parseInt(hex, 16);
				k += 2;
			} else throw corrupt(cursor, 'a string with an unknown escape');
		}
		out[n++] = c;
	}
	return out.subarray(0, n);
}

/** "raw-unicode-escape": Latin-1 with \uXXXX and \UXXXXXXXX. */
function unescapeUnicode(line: Uint8Array, cursor: PickleCursor): string {
	let text = '';
	for (let k = 0; k < line.byteLength; k += 8192) text += String.fromCharCode(...line.subarray(k, k + 8192));
	const result = text.replace(/\\(?:u([0-9a-fA-F]{4})|U([0-9a-fA-F]{8}))/g, (_, short: string | undefined, long: string | undefined) => {
		const code = Number.parseInt(short ?? long ?? '', 16);
		if (code > 0x10ffff) throw corrupt(cursor, 'a character beyond U+10FFFF');
		return String.fromCodePoint(code);
	});
	if (/[\ud800-\udfff]/u.test(result)) throw corrupt(cursor, 'a lone surrogate');
	return result;
}

function corrupt(cursor: PickleCursor, what: string): FormatError {
	return new FormatError('E_PICKLE_CORRUPT', `${cursor.what} holds ${what} before byte ${cursor.at}; the file is damaged.`);
}
