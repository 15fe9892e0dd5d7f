import { type ByteSource, FormatError, quote } from '@lorakit/format';
import { type FileMetaData, parquetMetadata, type RowGroup } from 'hyparquet';
import { asBrokenParquet, brokenParquet, unreadParquet } from './parquet-error.js';
import {
	MAX_PARQUET_FOOTER_BYTES,
	MAX_PARQUET_FOOTER_VALUES,
	MAX_PARQUET_ROWS,
	MAX_PARQUET_SCHEMA_DEPTH,
	MAX_PARQUET_SCHEMA_ELEMENTS,
	MAX_PARQUET_STATISTIC_BYTES,
} from './parquet-limits.js';
import { readThrift, ThriftEnd } from './parquet-thrift.js';

/** A column that holds values. */
export interface ParquetLeaf {
	/** Position among the leaves, which is that among the chunks of a row group. */
	readonly index: number;
	readonly path: readonly string[];
	/** Parquet's physical type: `BYTE_ARRAY`, `INT64`, ... */
	readonly type: string;
	/** Definition level of a value that is there. */
	readonly maxDefinition: number;
	/** Lists around the value. */
	readonly maxRepetition: number;
}

/** Where the values of one leaf in one row group lie. */
export interface ParquetChunk {
	/** Offset of the first page, a dictionary or not. */
	readonly start: number;
	readonly end: number;
	/** Levels, nulls counted. */
	readonly values: number;
	/** `UNCOMPRESSED`, `SNAPPY`, `ZSTD`, or one that is not read here. */
	readonly codec: string;
}

export interface ParquetGroup {
	/** Number of the first row in the file. */
	readonly firstRow: number;
	readonly rows: number;
	readonly chunk: (leaf: ParquetLeaf) => ParquetChunk;
}

/** What a Parquet file says about itself. */
export interface ParquetFooter {
	readonly rows: number;
	readonly leaves: readonly ParquetLeaf[];
	readonly groups: readonly ParquetGroup[];
	/** The text under the key `huggingface`, which names the features. */
	readonly huggingface: string | undefined;
}

const MAGIC_BYTES = 4;
/** The length of the footer and the magic number. */
const TAIL_BYTES = 8;

/**
 * The footer of a Parquet file, as hyparquet parses it, after every length in it was checked (hyparquet would allocate lists of
 * 2^31 entries), and every number in it afterwards.
 *
 * @throws {FormatError} `E_EMPTY`, `E_LFS_POINTER`, `E_HTML`, `E_PARQUET`, `E_TRUNCATED`, `E_LIMIT`, and what reading throws
 */
export async function readParquetFooter(source: ByteSource): Promise<ParquetFooter> {
	const file = source.name;
	const bytes = await footerBytes(source);
	const metadata = parse(file, bytes);
	const leaves = leavesOf(file, metadata.schema);
	const dataEnd = source.size - bytes.byteLength;
	let firstRow = 0;
	const groups: ParquetGroup[] = [];
	for (const group of metadata.row_groups) {
		const rows = count(file, group.num_rows, 'rows');
		groups.push({ firstRow, rows, chunk: (leaf) => chunkOf(file, group, leaf, rows, dataEnd) });
		firstRow += rows;
		if (firstRow > MAX_PARQUET_ROWS) {
			throw new FormatError('E_LIMIT', `${file} has more than ${MAX_PARQUET_ROWS} rows, which is the limit; split it.`);
		}
	}
	if (count(file, metadata.num_rows, 'rows') !== firstRow) {
		throw brokenParquet(file, `it says ${metadata.num_rows} rows, and its row groups have ${firstRow}`);
	}
	const huggingface = metadata.key_value_metadata?.find(({ key }) => key === 'huggingface')?.value;
	return { rows: firstRow, leaves, groups, huggingface };
}

/** The footer with its tail. */
async function footerBytes(source: ByteSource): Promise<Uint8Array> {
	const { name, size } = source;
	if (size === 0) throw new FormatError('E_EMPTY', `${name} is empty (0 bytes); fetch it again.`);
	const head = await source.read(0, Math.min(size, 64));
	const text = String.fromCharCode(...head);
	if (!text.startsWith('PAR1')) refuseOther(name, text);
	if (size < MAGIC_BYTES + TAIL_BYTES) throw truncated(name);
	const tail = await source.read(size - TAIL_BYTES, TAIL_BYTES);
	const magic = String.fromCharCode(...tail.subarray(4));
	if (magic === 'PARE') throw unreadParquet(name, 'its footer is encrypted', 'decrypt it first');
	if (magic !== 'PAR1') throw truncated(name);
	const length = new DataView(tail.buffer, tail.byteOffset).getUint32(0, true);
	if (length > size - MAGIC_BYTES - TAIL_BYTES) throw brokenParquet(name, `its footer of ${length} bytes is longer than the file`);
	if (length > MAX_PARQUET_FOOTER_BYTES) {
		throw new FormatError('E_LIMIT', `${name} has a footer of ${length} bytes; the limit is ${MAX_PARQUET_FOOTER_BYTES}.`);
	}
	return await source.read(size - TAIL_BYTES - length, length + TAIL_BYTES);
}

function truncated(name: string): FormatError {
	return new FormatError('E_TRUNCATED', `${name} begins as a Parquet file but does not end as one; it is cut short, fetch it again.`);
}

function refuseOther(name: string, text: string): never {
	if (text.startsWith('PARE')) throw unreadParquet(name, 'it is encrypted', 'decrypt it first');
	if (text.startsWith('version https://git-lfs')) {
		throw new FormatError('E_LFS_POINTER', `${name} is a pointer of Git LFS, not the file itself; fetch that with "git lfs pull".`);
	}
	if (/^\s*<(?:!doctype|html)/i.test(text)) {
		throw new FormatError('E_HTML', `${name} is a web page, not a Parquet file; fetch it from its download address.`);
	}
	throw new FormatError('E_PARQUET', `${name} begins with ${quote(text.slice(0, 8))}; it is no Parquet file, which begins with "PAR1".`);
}

function parse(file: string, bytes: Uint8Array): FileMetaData {
	try {
		readThrift(file, bytes.subarray(0, bytes.byteLength - TAIL_BYTES), 0, {
			values: MAX_PARQUET_FOOTER_VALUES,
			deepString: MAX_PARQUET_STATISTIC_BYTES,
		});
		const metadata = parquetMetadata(bytes, { geoparquet: false });
		if (metadata.schema.length > MAX_PARQUET_SCHEMA_ELEMENTS) {
			throw new FormatError('E_LIMIT', `${file} has ${metadata.schema.length} columns; the limit is ${MAX_PARQUET_SCHEMA_ELEMENTS}.`);
		}
		return metadata;
	} catch (error) {
		if (error instanceof ThriftEnd) throw brokenParquet(file, 'its footer ends early', error);
		throw asBrokenParquet(file, 'its footer cannot be read', error);
	}
}

/** The leaves of a schema, which is the list of a tree's nodes, parents first. */
function leavesOf(file: string, schema: FileMetaData['schema']): readonly ParquetLeaf[] {
	const leaves: ParquetLeaf[] = [];
	let next = 0;
	function visit(path: readonly string[], maxDefinition: number, maxRepetition: number): void {
		const element = schema[next++];
		if (element === undefined) throw brokenParquet(file, 'its schema ends early');
		if (path.length > MAX_PARQUET_SCHEMA_DEPTH) throw brokenParquet(file, `its columns are more than ${MAX_PARQUET_SCHEMA_DEPTH} deep`);
		const isRoot = next === 1;
		const { name, repetition_type: repetition } = element;
		if (!isRoot && typeof name !== 'string') throw brokenParquet(file, 'a column of its schema has no name');
		const own = isRoot ? [] : [...path, name];
		const definition = maxDefinition + (isRoot || repetition === 'REQUIRED' ? 0 : 1);
		const repeated = maxRepetition + (!isRoot && repetition === 'REPEATED' ? 1 : 0);
		const children = element.num_children ?? 0;
		if (!Number.isInteger(children) || children < 0 || children > schema.length) {
			throw brokenParquet(file, `a column of its schema has ${children} columns in it`);
		}
		if (children === 0 && !isRoot) {
			leaves.push({
				index: leaves.length,
				path: own,
				type: element.type ?? 'none',
				maxDefinition: definition,
				maxRepetition: repeated,
			});
		}
		for (let i = 0; i < children; i++) visit(own, definition, repeated);
	}
	visit([], 0, 0);
	if (next !== schema.length) throw brokenParquet(file, `its schema has ${schema.length - next} columns too many`);
	return leaves;
}

function chunkOf(file: string, group: RowGroup, leaf: ParquetLeaf, rows: number, dataEnd: number): ParquetChunk {
	const column = group.columns[leaf.index];
	const name = quote(leaf.path.join('.'));
	const data = column?.meta_data;
	if (column?.crypto_metadata !== undefined) throw unreadParquet(file, `column ${name} is encrypted`, 'decrypt it first');
	if (column?.file_path) throw unreadParquet(file, `column ${name} is in another file`, 'write one file');
	// hyparquet gives what stands in the file, whatever the types say.
	if (typeof data !== 'object' || !Array.isArray(data.path_in_schema)) throw brokenParquet(file, `a row group has no column ${name}`);
	if (data.path_in_schema.join('\0') !== leaf.path.join('\0') || data.type !== leaf.type) {
		throw brokenParquet(file, `column ${name} of its schema is another one in a row group`);
	}
	const first = count(file, data.data_page_offset, `bytes before column ${name}`);
	// Some writers say 0, or nothing, where there is no dictionary.
	const dictionary = count(file, data.dictionary_page_offset ?? 0n, `bytes before column ${name}`);
	const start = dictionary > 0 ? Math.min(first, dictionary) : first;
	const end = start + count(file, data.total_compressed_size, `bytes of column ${name}`);
	if (start < MAGIC_BYTES || end > dataEnd) {
		throw brokenParquet(file, `column ${name} is said to lie at bytes ${start} to ${end}, outside the data of ${dataEnd} bytes`);
	}
	const values = count(file, data.num_values, `values of column ${name}`);
	if (leaf.maxRepetition === 0 ? values !== rows : values < rows) {
		throw brokenParquet(file, `column ${name} has ${values} values in a row group of ${rows} rows`);
	}
	return { start, end, values, codec: data.codec ?? 'an unknown codec' };
}

/** A number of a footer, which hyparquet gives as whatever stood there. */
function count(file: string, value: unknown, what: string): number {
	const number = typeof value === 'bigint' ? Number(value) : value;
	if (typeof number !== 'number' || !Number.isSafeInteger(number) || number < 0) {
		throw brokenParquet(file, `it says ${typeof value === 'bigint' ? value : 'something else than a number'} for the ${what}`);
	}
	return number;
}
