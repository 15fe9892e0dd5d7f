import { snappyUncompress } from 'hyparquet';
import { asBrokenParquet, brokenParquet } from './parquet-error.js';

/**
 * Unpack snappy's raw form. Its elements are walked first: what they add up to is known before a byte is allocated, and
 * hyparquet's decoder, which goes backwards for ever on a literal of 2^32 bytes, is given sound ones only.
 * Source of the form: google/snappy format_description.txt.
 *
 * @param expected bytes that the page's header promises
 * @throws {FormatError} `E_PARQUET`
 */
export function unpackSnappy(file: string, packed: Uint8Array, expected: number): Uint8Array {
	const size = walk(file, packed, expected);
	if (size !== expected) throw brokenParquet(file, `a page unpacks to ${size} bytes where its header says ${expected}`);
	const out = new Uint8Array(expected);
	if (expected === 0) return out;
	try {
		snappyUncompress(packed, out);
	} catch (error) {
		throw asBrokenParquet(file, 'a page cannot be unpacked', error);
	}
	return out;
}

function walk(file: string, packed: Uint8Array, expected: number): number {
	let at = 0;
	let size = 0;
	const byte = (): number => {
		const value = packed[at++];
		if (value === undefined) throw brokenParquet(file, 'a packed page ends early');
		return value;
	};
	const number = (bytes: number): number => {
		let value = 0;
		for (let i = 0; i < bytes; i++) value += byte() * 2 ** (8 * i);
		return value;
	};
	// The length that stands in front; the page's header has it too.
	let shift = 0;
	while (byte() >= 0x80) if (++shift > 4) throw brokenParquet(file, 'the length before a packed page is too long');
	while (at < packed.byteLength && size <= expected) {
		const tag = byte();
		if ((tag & 3) === 0) {
			const short = tag >> 2;
			const length = 1 + (short < 60 ? short : number(short - 59));
			at += length;
			size += length;
			if (at > packed.byteLength) throw brokenParquet(file, 'a packed page ends early');
			continue;
		}
		const length = (tag & 3) === 1 ? 4 + ((tag >> 2) & 7) : 1 + (tag >> 2);
		const offset = (tag & 3) === 1 ? (tag >> 5) * 256 + byte() : number((tag & 3) === 2 ? 2 : 4);
		if (offset === 0 || offset > size) throw brokenParquet(file, 'a packed page repeats bytes before its beginning');
		size += length;
	}
	return size;
}
