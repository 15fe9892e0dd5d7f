import { type ByteSource, FormatError } from '@lorakit/format';
import { checkPageSizes } from './parquet-decompress.js';
import { brokenParquet } from './parquet-error.js';
import type { ParquetChunk, ParquetLeaf } from './parquet-footer.js';
import { MAX_PAGE_HEADER_BYTES, MAX_PAGE_HEADER_VALUES, MAX_PARQUET_ROWS, MAX_SPARE_PAGES } from './parquet-limits.js';
import { readThrift, ThriftEnd, type ThriftStruct, thriftNumber, thriftStruct } from './parquet-thrift.js';

/** A page of a column chunk: where its bytes lie and what its header says. */
export interface ParquetPage {
	readonly kind: 'dictionary' | 'data' | 'data2';
	/** Of the bytes behind the header. */
	readonly offset: number;
	readonly packed: number;
	readonly unpacked: number;
	/** Levels (data) or entries (dictionary). */
	readonly values: number;
	/** Number of Parquet's `Encoding`. */
	readonly encoding: number;
	/** Encoding of the definition and repetition levels; of `data` only. */
	readonly levels: readonly number[];
	/** Of `data2`: bytes of levels in front of the values, which are not packed. */
	readonly repetitionBytes: number;
	readonly definitionBytes: number;
	/** Of `data2`: the values are packed. */
	readonly isPacked: boolean;
	/** CRC-32 of the packed bytes, where the writer gave one. */
	readonly crc: number | undefined;
}

/** Most headers are shorter. */
const FIRST_LOOK_BYTES = 512;

/**
 * The pages of a column chunk, one after the other: only their headers are read.
 * @throws {FormatError} `E_PARQUET`, `E_LIMIT`, and what reading throws
 */
export async function* parquetPages(
	source: ByteSource,
	leaf: ParquetLeaf,
	chunk: ParquetChunk,
): AsyncGenerator<ParquetPage, void, undefined> {
	const file = source.name;
	let left = chunk.values;
	let pages = 0;
	for (let at = chunk.start; left > 0; ) {
		if (++pages > chunk.values + MAX_SPARE_PAGES)
			throw brokenParquet(file, `a column of ${chunk.values} values has more than ${pages} pages`);
		const { struct, end } = await header(source, at, chunk.end);
		const page = pageOf(file, struct, end);
		at = end + page.packed;
		if (at > chunk.end) throw brokenParquet(file, `a page ends ${at - chunk.end} bytes behind its column`);
		if (page.kind !== 'dictionary') left -= page.values;
		if (left < 0) throw brokenParquet(file, `the pages of ${leaf.path.join('.')} have more values than the column's ${chunk.values}`);
		yield page;
	}
}

async function header(source: ByteSource, at: number, chunkEnd: number): Promise<{ readonly struct: ThriftStruct; readonly end: number }> {
	for (let look = FIRST_LOOK_BYTES; ; look *= 16) {
		const length = Math.min(look, chunkEnd - at);
		if (length <= 0) throw brokenParquet(source.name, 'a column has fewer values than it says');
		const bytes = await source.read(at, length);
		try {
			const { struct, end } = readThrift(source.name, bytes, 0, { values: MAX_PAGE_HEADER_VALUES });
			return { struct, end: at + end };
		} catch (error) {
			if (!(error instanceof ThriftEnd)) throw error;
			if (length < look || look >= MAX_PAGE_HEADER_BYTES) throw brokenParquet(source.name, 'the header of a page ends early', error);
		}
	}
}

const KINDS: ReadonlyMap<number, readonly [kind: ParquetPage['kind'], field: number, encoding: number]> = new Map([
	[0, ['data', 5, 2]],
	[2, ['dictionary', 7, 2]],
	[3, ['data2', 8, 4]],
]);

/** Source of the numbers: apache/parquet-format src/main/thrift/parquet.thrift `PageHeader`. */
function pageOf(file: string, struct: ThriftStruct, offset: number): ParquetPage {
	const type = thriftNumber(struct, 1);
	const known = KINDS.get(type ?? -1);
	if (known === undefined) throw brokenParquet(file, `a page is of kind ${type ?? 'none'}`);
	const [kind, field, encodingField] = known;
	const own = thriftStruct(struct, field);
	const need = (value: number | undefined): number => {
		if (value === undefined || value < 0) throw brokenParquet(file, `the header of a ${kind} page lacks a number or has a negative one`);
		return value;
	};
	const unpacked = need(thriftNumber(struct, 2));
	const packed = need(thriftNumber(struct, 3));
	checkPageSizes(file, packed, unpacked);
	const values = need(thriftNumber(own, 1));
	if (values > MAX_PARQUET_ROWS) {
		throw new FormatError('E_LIMIT', `${file}: a page says that it has ${values} values; the limit is ${MAX_PARQUET_ROWS}.`);
	}
	const data2 = kind === 'data2';
	const [definitionBytes, repetitionBytes] = data2 ? [need(thriftNumber(own, 5)), need(thriftNumber(own, 6))] : [0, 0];
	if (definitionBytes + repetitionBytes > Math.min(packed, unpacked))
		throw brokenParquet(file, 'the levels of a page are longer than it is');
	return {
		kind,
		offset,
		packed,
		unpacked,
		values,
		encoding: need(thriftNumber(own, encodingField)),
		levels: kind === 'data' ? [need(thriftNumber(own, 3)), need(thriftNumber(own, 4))] : [],
		repetitionBytes,
		definitionBytes,
		isPacked: own?.get(7) !== false || !data2,
		crc: thriftNumber(struct, 4),
	};
}
