import { asBrokenParquet, brokenParquet, unreadParquet } from './parquet-error.js';

/** Largest block that a frame may unpack to (RFC 8878, 3.1.1.2.4). */
const MAX_BLOCK_BYTES = 128 * 1024;
/** Largest window: what `zstd --long` uses at its default. */
const MAX_WINDOW_BYTES = 128 * 1024 * 1024;
/** fzstd counts bits in 32: above this it would read the wrong ones. */
const MAX_PACKED_BYTES = 2 ** 28 - 1;
/** Blocks that a writer may have ended early. */
const SPARE_BLOCKS = 64;

/**
 * Unpack one Zstandard frame, through fzstd as `hyparquet-compressors` has it. fzstd believes what it reads: it allocates the
 * window and the size that the frame names, lets a run of four bytes be 2 MB long, and decodes for ever where a Huffman table
 * is coded by a table of one symbol. So the frame's structure is walked first and all three are refused.
 * Source of the form: RFC 8878.
 *
 * @param expected bytes that the page's header promises
 * @throws {FormatError} `E_PARQUET`
 */
export async function unpackZstd(file: string, packed: Uint8Array, expected: number): Promise<Uint8Array> {
	if (packed.byteLength > MAX_PACKED_BYTES) {
		throw unreadParquet(file, `a zstd page has ${packed.byteLength} bytes`, 'write it with smaller row groups');
	}
	const sized = walk(file, packed, expected);
	const { decompressZstd } = await import('hyparquet-compressors');
	let out: Uint8Array;
	try {
		out = sized ? decompressZstd(packed, new Uint8Array(expected)) : decompressZstd(packed);
	} catch (error) {
		throw asBrokenParquet(file, 'a page cannot be unpacked', error);
	}
	if (out.byteLength !== expected) throw brokenParquet(file, `a page unpacks to ${out.byteLength} bytes where its header says ${expected}`);
	return out;
}

/** @returns true when the frame itself names its size, which is the expected one */
function walk(file: string, bytes: Uint8Array, expected: number): boolean {
	const broken = (what: string): Error => brokenParquet(file, `a zstd page ${what}`);
	const at = (i: number): number => {
		const value = bytes[i];
		if (value === undefined) throw broken('ends early');
		return value;
	};
	if (at(0) !== 0x28 || at(1) !== 0xb5 || at(2) !== 0x2f || at(3) !== 0xfd) throw broken('does not begin with a frame');
	const flags = at(4);
	const single = ((flags >> 5) & 1) === 1;
	if ((flags & 8) !== 0) throw broken('sets a reserved bit');
	if ((flags & 3) !== 0) throw broken('wants a dictionary');
	const sizeBytes = flags >> 6 === 0 ? (single ? 1 : 0) : 1 << (flags >> 6);
	let i = single ? 5 : 6;
	let content = flags >> 6 === 1 ? 256 : 0;
	for (let k = 0; k < sizeBytes; k++) content += at(i++) * 2 ** (8 * k);
	if (sizeBytes > 0 && content !== expected) throw broken(`says ${content} bytes where its header says ${expected}`);
	const window = single ? content : 2 ** (10 + (at(5) >> 3)) * (1 + (at(5) & 7) / 8);
	if (window > Math.max(MAX_WINDOW_BYTES, single ? expected : 0)) throw broken(`wants a window of ${window} bytes`);
	const largest = Math.min(MAX_BLOCK_BYTES, window);

	let least = 0;
	let packedBlocks = 0;
	for (let last = false; !last; ) {
		const head = at(i) + at(i + 1) * 2 ** 8 + at(i + 2) * 2 ** 16;
		last = (head & 1) === 1;
		const kind = (head >> 1) & 3;
		const size = head >> 3;
		i += 3;
		if (kind === 3) throw broken('has a block of an unknown kind');
		if (size > largest) throw broken(`has a block of ${size} bytes where ${largest} are the limit`);
		if (kind === 2) {
			packedBlocks++;
			if (size < 2) throw broken('has an empty packed block');
			checkLiterals(bytes.subarray(i, i + size), broken);
		} else least += size;
		i += kind === 1 ? 1 : size;
		if (i > bytes.byteLength) throw broken('ends early');
		if (least > expected || packedBlocks > Math.ceil(expected / MAX_BLOCK_BYTES) + SPARE_BLOCKS) {
			throw broken(`unpacks to more than the ${expected} bytes that its header says`);
		}
	}
	if (i + ((flags >> 2) & 1) * 4 !== bytes.byteLength) throw broken('has bytes behind its frame');
	return sizeBytes > 0;
}

/** Refuse a block whose Huffman weights are coded by a table with one symbol: no bits are used up, so decoding does not end. */
function checkLiterals(block: Uint8Array, broken: (what: string) => Error): void {
	const head = block[0] ?? 0;
	if ((head & 3) !== 2) return;
	const form = (head >> 2) & 3;
	const tree = form < 2 ? 3 : form + 2;
	if ((block[tree] ?? 255) >= 128) return;
	if (isCertain(block, tree + 1)) throw broken('has a Huffman table without information');
}

/** Whether a table of finite state entropy gives one symbol all of its states. */
function isCertain(bytes: Uint8Array, start: number): boolean {
	let bit = start * 8;
	const take = (count: number): number => {
		let value = 0;
		for (let i = 0; i < count; i++) value += (((bytes[(bit + i) >> 3] ?? 0) >> ((bit + i) & 7)) & 1) * 2 ** i;
		return value;
	};
	const size = 2 ** (5 + take(4));
	bit += 4;
	for (let left = size, symbols = 0; left > 0 && symbols < 256; symbols++) {
		// As many bits as left + 1 needs; the smaller values, which need one less, have a shorter code.
		const bits = 31 - Math.clz32(left + 1);
		const shorter = 2 ** (bits + 1) - 1 - left - 1;
		let value = take(bits);
		if (value < shorter) bit += bits;
		else {
			value = take(bits + 1);
			bit += bits + 1;
			if (value >= 2 ** bits) value -= shorter;
		}
		const states = value - 1;
		if (states === size) return true;
		left -= Math.abs(states);
		if (states !== 0) continue;
		for (let repeat = 3; repeat === 3; ) {
			repeat = take(2);
			bit += 2;
			symbols += repeat;
		}
	}
	return false;
}
