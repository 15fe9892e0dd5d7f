import { type ByteSource, crc32 } from '@lorakit/format';
import { unpackPage } from './parquet-decompress.js';
import { brokenParquet, unreadParquet } from './parquet-error.js';
import type { ParquetLeaf } from './parquet-footer.js';
import { bitsOf, readHybrid } from './parquet-hybrid.js';
import type { ParquetPage } from './parquet-pages.js';

/** The values of a page, one entry for each level. */
export interface ParquetValues {
	/** Undefined where there is none. They lie in the page's bytes: not to be changed. */
	readonly values: readonly (Uint8Array | undefined)[];
	/** 0 where a row begins; undefined when every value is a row. */
	readonly repetitions: Uint32Array | undefined;
	/** Bytes in memory. */
	readonly bytes: number;
}

const PLAIN = 0;
const PLAIN_DICTIONARY = 2;
const RLE = 3;
const RLE_DICTIONARY = 8;
const ENCODINGS: readonly string[] = [
	'PLAIN',
	'1',
	'PLAIN_DICTIONARY',
	'RLE',
	'BIT_PACKED',
	'DELTA_BINARY_PACKED',
	'DELTA_LENGTH_BYTE_ARRAY',
	'DELTA_BYTE_ARRAY',
	'RLE_DICTIONARY',
	'BYTE_STREAM_SPLIT',
];

/**
 * The entries of a dictionary page.
 * @throws {FormatError} `E_PARQUET`, and what reading throws
 */
export async function readDictionary(source: ByteSource, codec: string, page: ParquetPage): Promise<readonly Uint8Array[]> {
	if (page.encoding !== PLAIN && page.encoding !== PLAIN_DICTIONARY) throw encodingUnread(source.name, page.encoding);
	const bytes = await unpackPage(source.name, codec, await packedBytes(source, page), page.unpacked);
	return byteArrays(source.name, bytes, page.values);
}

/**
 * The values of a data page of byte arrays, in version 1 or 2 of the format, plain or by a dictionary.
 *
 * Written here and not left to hyparquet's `parquetRead`: that reads a row group whole, and it believes the counts in a page, so
 * that ten bytes make it write 2^31 numbers or loop; a training set wants the one page that a picture lies in.
 * Source: apache/parquet-format README.md "Data Pages", Encodings.md.
 *
 * @throws {FormatError} `E_PARQUET`, and what reading throws
 */
export async function readDataPage(
	source: ByteSource,
	leaf: ParquetLeaf,
	codec: string,
	page: ParquetPage,
	dictionary: readonly Uint8Array[] | undefined,
): Promise<ParquetValues> {
	const file = source.name;
	const packed = await packedBytes(source, page);
	const { repetitions, definitions, rest } =
		page.kind === 'data2' ? await levelsOf2(file, leaf, codec, page, packed) : await levelsOf1(file, leaf, codec, page, packed);
	const present = definitions?.reduce((sum, level) => sum + (level === leaf.maxDefinition ? 1 : 0), 0) ?? page.values;
	const found = valuesOf(file, page, rest, present, dictionary);
	let next = 0;
	const values =
		definitions === undefined ? found : Array.from(definitions, (level) => (level === leaf.maxDefinition ? found[next++] : undefined));
	return { values, repetitions, bytes: page.unpacked };
}

async function packedBytes(source: ByteSource, page: ParquetPage): Promise<Uint8Array> {
	const bytes = await source.read(page.offset, page.packed);
	if (page.crc !== undefined && crc32(bytes) !== page.crc >>> 0)
		throw brokenParquet(source.name, 'a page does not have the checksum in its header');
	return bytes;
}

interface Levels {
	readonly repetitions: Uint32Array | undefined;
	readonly definitions: Uint32Array | undefined;
	/** The values. */
	readonly rest: Uint8Array;
}

/** Version 1: all is packed; levels have their length in front. */
async function levelsOf1(file: string, leaf: ParquetLeaf, codec: string, page: ParquetPage, packed: Uint8Array): Promise<Levels> {
	const bytes = await unpackPage(file, codec, packed, page.unpacked);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	let at = 0;
	const levels = (most: number, encoding: number | undefined): Uint32Array | undefined => {
		if (most === 0) return undefined;
		if (encoding !== RLE) throw encodingUnread(file, encoding ?? -1);
		const length = at + 4 <= bytes.byteLength ? view.getUint32(at, true) : Number.POSITIVE_INFINITY;
		if (length > bytes.byteLength - at - 4) throw brokenParquet(file, 'the levels of a page are longer than it is');
		const out = readHybrid(file, bytes.subarray(at + 4, at + 4 + length), bitsOf(most), page.values);
		at += 4 + length;
		return out;
	};
	const repetitions = levels(leaf.maxRepetition, page.levels[1]);
	const definitions = levels(leaf.maxDefinition, page.levels[0]);
	return { repetitions, definitions, rest: bytes.subarray(at) };
}

/** Version 2: the levels stand in front, never packed, their lengths in the header. */
async function levelsOf2(file: string, leaf: ParquetLeaf, codec: string, page: ParquetPage, packed: Uint8Array): Promise<Levels> {
	const { repetitionBytes, definitionBytes, values, unpacked } = page;
	const start = repetitionBytes + definitionBytes;
	const levels = (most: number, from: number, to: number): Uint32Array | undefined =>
		most === 0 ? undefined : readHybrid(file, packed.subarray(from, to), bitsOf(most), values);
	const repetitions = levels(leaf.maxRepetition, 0, repetitionBytes);
	const definitions = levels(leaf.maxDefinition, repetitionBytes, start);
	const rest = packed.subarray(start);
	// Without values there is nothing to unpack, not even an empty frame.
	const isPacked = page.isPacked && unpacked > start;
	return { repetitions, definitions, rest: await unpackPage(file, isPacked ? codec : 'UNCOMPRESSED', rest, unpacked - start) };
}

function valuesOf(
	file: string,
	page: ParquetPage,
	bytes: Uint8Array,
	count: number,
	dictionary: readonly Uint8Array[] | undefined,
): readonly Uint8Array[] {
	if (page.encoding === PLAIN) return byteArrays(file, bytes, count);
	if (page.encoding !== PLAIN_DICTIONARY && page.encoding !== RLE_DICTIONARY) throw encodingUnread(file, page.encoding);
	if (count === 0) return [];
	if (dictionary === undefined) throw brokenParquet(file, 'a page refers to a dictionary that is not there');
	const width = bytes[0] ?? 255;
	if (width > 32) throw brokenParquet(file, `the indices of a page have ${width} bits`);
	return Array.from(readHybrid(file, bytes.subarray(1), width, count), (index) => {
		const value = dictionary[index];
		if (value === undefined) throw brokenParquet(file, `a page refers to entry ${index} of a dictionary of ${dictionary.length}`);
		return value;
	});
}

/** Plain byte arrays: a length of four bytes before each. */
function byteArrays(file: string, bytes: Uint8Array, count: number): readonly Uint8Array[] {
	if (count * 4 > bytes.byteLength) throw brokenParquet(file, `a page of ${bytes.byteLength} bytes says that it has ${count} values`);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const out: Uint8Array[] = [];
	let at = 0;
	for (let i = 0; i < count; i++) {
		const length = at + 4 <= bytes.byteLength ? view.getUint32(at, true) : Number.POSITIVE_INFINITY;
		if (length > bytes.byteLength - at - 4) throw brokenParquet(file, `value ${i} of a page is longer than the page`);
		out.push(bytes.subarray(at + 4, at + 4 + length));
		at += 4 + length;
	}
	if (at !== bytes.byteLength) throw brokenParquet(file, `a page has ${bytes.byteLength - at} bytes behind its values`);
	return out;
}

function encodingUnread(file: string, encoding: number): Error {
	return unreadParquet(
		file,
		`a column is encoded as ${ENCODINGS[encoding] ?? encoding}`,
		'write it again with plain or dictionary encoding, as datasets.Dataset.to_parquet does',
	);
}
