import { type ByteSource, createSha256, FormatError, type HasherFactory, quote } from '@lorakit/format';
import { createRecentCache, type RecentCache } from './cache-recent.js';
import type { Dataset, DatasetItem, OnBad, PictureSize, SkippedPicture, SkipReason } from './dataset.js';
import { datasetDigest } from './dataset-digest.js';
import { listSkipped } from './dataset-report.js';
import { type RowCaptions, readCaptions } from './parquet-captions.js';
import { brokenParquet } from './parquet-error.js';
import { type ColumnOptions, chooseColumns } from './parquet-features.js';
import { type ParquetChunk, type ParquetFooter, type ParquetGroup, type ParquetLeaf, readParquetFooter } from './parquet-footer.js';
import { MAX_PARQUET_PICTURE_BYTES, MAX_PARQUET_ROWS, MAX_PARQUET_SHARDS, PAGE_CACHE_BYTES } from './parquet-limits.js';
import { type ParquetValues, readDataPage, readDictionary } from './parquet-page.js';
import { type ParquetPage, parquetPages } from './parquet-pages.js';

/** One Parquet file of a data set. */
export interface ParquetShard {
	/** The same on every machine: the path below the set's folder, or in the repository. Names of items begin with it. */
	readonly name: string;
	/** A file (`openFileSource`), a browser's `File` (`blobSource`), anything that is read by ranges. Closed with the data set. */
	readonly source: ByteSource;
}

/** A picture that can be used. */
export interface InspectedPicture extends PictureSize {
	/** What else is to be known of it. */
	readonly notes?: readonly string[] | undefined;
}

/** Looks at an encoded picture; what cannot be used comes back as the reason. */
export type PictureInspector = (name: string, bytes: Uint8Array) => Promise<InspectedPicture | SkippedPicture>;

export interface ParquetDatasetOptions extends ColumnOptions {
	readonly inspect: PictureInspector;
	/** What to call the set. Default: the name of the first shard. */
	readonly name?: string | undefined;
	/** The caption of every picture; no column of captions is read then (DreamBooth's instance prompt). */
	readonly prompt?: string | undefined;
	/** Pictures that cannot be used: name them and go on (the default), or refuse the set. */
	readonly onBad?: OnBad | undefined;
	/** Pictures with the same bytes and captions as an earlier one: leave them out (the default), or train on each. */
	readonly duplicates?: 'skip' | 'keep' | undefined;
	/** A faster SHA-256 than the one in TypeScript. */
	readonly createHasher?: HasherFactory | undefined;
	/** Told now and then: rows seen, and of all. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
	readonly signal?: AbortSignal | undefined;
}

/**
 * A data set of Parquet files in the form that `datasets` writes and the Hub keeps: pictures as bytes in a column, captions in
 * another. Opening reads all pages one after the other, hashes every picture and looks at its header, and keeps captions and
 * places; reading a picture later reads its page alone. Never more than a page of each column is in memory, and
 * `PAGE_CACHE_BYTES` of pages for reading.
 *
 * Rows without a picture or a caption, and pictures that cannot be used, are in `skipped`; a file that is broken is refused.
 *
 * @param shards in the order of their rows
 * @throws {FormatError} `E_PARQUET`, `E_TRUNCATED`, `E_EMPTY`, `E_HTML`, `E_LFS_POINTER` for what is no sound Parquet file;
 *   `E_LIMIT`; `E_USAGE` for columns that have to be named; `E_EMPTY` when nothing is left; `E_INTERRUPTED`; `E_FORMAT` under
 *   `onBad: 'refuse'`, naming what is wrong; and what reading throws. The sources are closed then.
 */
export async function openParquetDataset(shards: readonly ParquetShard[], options: ParquetDatasetOptions): Promise<Dataset> {
	const close = async (): Promise<void> => {
		for (const { source } of shards) await source.close();
	};
	try {
		return await open(shards, options, close);
	} catch (error) {
		await close();
		throw error;
	}
}

interface Opening {
	readonly options: ParquetDatasetOptions;
	readonly createHasher: HasherFactory;
	readonly pages: RecentCache<LoadedPage>;
	readonly items: DatasetItem[];
	readonly skipped: SkippedPicture[];
	readonly notes: string[];
	/** Names by content. */
	readonly first: Map<string, string>;
}

async function open(shards: readonly ParquetShard[], options: ParquetDatasetOptions, close: () => Promise<void>): Promise<Dataset> {
	const [first] = shards;
	if (first === undefined) throw new FormatError('E_USAGE', 'No Parquet file was given; name one, or a folder that holds some.');
	const name = options.name ?? first.name;
	if (shards.length > MAX_PARQUET_SHARDS) {
		throw new FormatError('E_LIMIT', `${name} has ${shards.length} Parquet files; the limit is ${MAX_PARQUET_SHARDS}.`);
	}
	if (new Set(shards.map((shard) => shard.name)).size < shards.length) {
		throw new FormatError('E_USAGE', `${name}: two Parquet files have the same name; give each its own, items are called after it.`);
	}
	const footers: ParquetFooter[] = [];
	let total = 0;
	for (const { source } of shards) {
		const footer = await readParquetFooter(source);
		footers.push(footer);
		total += footer.rows;
		if (total > MAX_PARQUET_ROWS)
			throw new FormatError('E_LIMIT', `${name} has more than ${MAX_PARQUET_ROWS} rows, which is the limit; train on a part of it.`);
	}
	const opening: Opening = {
		options,
		createHasher: options.createHasher ?? createSha256,
		pages: createRecentCache(PAGE_CACHE_BYTES, ({ bytes }) => bytes),
		items: [],
		skipped: [],
		notes: [],
		first: new Map(),
	};
	let done = 0;
	for (const [i, shard] of shards.entries()) {
		const footer = footers[i];
		if (footer === undefined) continue;
		const columns = chooseColumns(shard.source.name, footer, options, options.prompt === undefined);
		for (const group of footer.groups) {
			const captions = columns.caption === undefined ? undefined : await readCaptions(shard.source, columns.caption, group);
			await addPictures(opening, shard, columns.picture, group, (row) => {
				options.onProgress?.(done + row, total);
				return captions?.[row] ?? { captions: [options.prompt ?? ''] };
			});
			done += group.rows;
		}
	}
	const { items, skipped, notes } = opening;
	const bad = skipped.filter(({ reason }) => reason !== 'duplicate');
	if (options.onBad === 'refuse' && bad.length > 0) {
		throw new FormatError(
			'E_FORMAT',
			`${bad.length} of the ${total} rows of ${quote(name)} cannot be used, which was to be refused: ${listSkipped(bad)}`,
		);
	}
	if (items.length === 0) {
		throw new FormatError(
			'E_EMPTY',
			`${quote(name)} has no picture to train on: ${skipped.length === 0 ? 'it has no rows.' : listSkipped(skipped)}`,
		);
	}
	return {
		name,
		items,
		skipped,
		notes,
		digest: datasetDigest(items, opening.createHasher),
		close: async () => {
			opening.pages.clear();
			await close();
		},
	};
}

/** All rows of a row group. */
async function addPictures(
	opening: Opening,
	shard: ParquetShard,
	leaf: ParquetLeaf,
	group: ParquetGroup,
	captionsOf: (row: number) => RowCaptions,
): Promise<void> {
	const { options } = opening;
	const { source } = shard;
	const chunk = group.chunk(leaf);
	const places: PagePlaces = { shard, leaf, chunk, dictionary: undefined };
	// A dictionary gives one picture to many rows.
	const seen = new WeakMap<Uint8Array, Promise<Known>>();
	let row = 0;
	for await (const page of parquetPages(source, leaf, chunk)) {
		if (page.kind === 'dictionary') {
			places.dictionary = page;
			continue;
		}
		const at: PagePlaces = { ...places };
		const { values } = await loadPage(opening.pages, at, page);
		for (const [i, bytes] of values.entries()) {
			if (options.signal?.aborted === true) throw new FormatError('E_INTERRUPTED', `Opening ${source.name} was interrupted.`);
			const name = `${shard.name}#${group.firstRow + row}`;
			const caption = captionsOf(row);
			row++;
			const bad = (reason: SkipReason, why: string): void => void opening.skipped.push({ name, reason, message: `${quote(name)} ${why}.` });
			if (bytes === undefined) bad('no-picture', NO_BYTES);
			else if ('reason' in caption) bad(caption.reason, caption.why);
			else {
				const known = seen.get(bytes) ?? look(name, bytes, opening);
				seen.set(bytes, known);
				// A refusal names the row it is about.
				if ('reason' in (await known)) seen.delete(bytes);
				addPicture(opening, name, await known, caption.captions, async () => (await loadPage(opening.pages, at, page)).values[i]);
			}
		}
	}
	if (row !== group.rows) throw brokenParquet(source.name, `a row group of ${group.rows} rows has ${row} pictures`);
}

const NO_BYTES =
	'has no bytes of a picture; a path alone names a file that is not in the data set: write it again with the pictures embedded (datasets: embed_external_files)';

type Known = (InspectedPicture & { readonly sha256: string }) | { readonly reason: SkipReason; readonly message: string };

async function look(name: string, bytes: Uint8Array, { options, createHasher }: Opening): Promise<Known> {
	if (bytes.byteLength === 0) return { reason: 'empty', message: `${quote(name)} is empty (0 bytes).` };
	if (bytes.byteLength > MAX_PARQUET_PICTURE_BYTES) {
		return { reason: 'huge', message: `${quote(name)} has ${bytes.byteLength} bytes; the limit is ${MAX_PARQUET_PICTURE_BYTES}.` };
	}
	// A copy: the page is there for others, and decoders transfer memory.
	const found = await options.inspect(name, bytes.slice());
	return 'reason' in found ? found : { ...found, sha256: sha256Of(bytes, createHasher) };
}

function addPicture(
	{ options, createHasher, items, skipped, notes, first }: Opening,
	name: string,
	known: Known,
	captions: readonly string[],
	load: () => Promise<Uint8Array | undefined>,
): void {
	if ('reason' in known) {
		skipped.push({ name, reason: known.reason, message: known.message });
		return;
	}
	const { sha256, width, height } = known;
	const key = JSON.stringify([sha256, captions]);
	const same = first.get(key);
	if (same !== undefined && options.duplicates !== 'keep') {
		skipped.push({ name, reason: 'duplicate', message: `${quote(name)} has the bytes and the caption of ${quote(same)}; take one away.` });
		return;
	}
	first.set(key, same ?? name);
	notes.push(...(known.notes ?? []));
	items.push({
		name,
		captions,
		width,
		height,
		sha256,
		async read() {
			// A copy, as above.
			const bytes = (await load())?.slice();
			if (bytes !== undefined && sha256Of(bytes, createHasher) === sha256) return bytes;
			throw new FormatError('E_INPUT_CHANGED', `${quote(name)} is no longer the picture that it was when the set was opened; start again.`);
		},
	});
}

/** Where pages come from; the dictionary is the one that stands before them. */
interface PagePlaces {
	readonly shard: ParquetShard;
	readonly leaf: ParquetLeaf;
	readonly chunk: ParquetChunk;
	dictionary: ParquetPage | undefined;
}

/** Entries of a dictionary, or the values of a data page. */
type LoadedPage = Pick<ParquetValues, 'bytes' | 'values'>;

async function loadPage(pages: RecentCache<LoadedPage>, places: PagePlaces, page: ParquetPage): Promise<LoadedPage> {
	const { shard, leaf, chunk, dictionary } = places;
	const { source, name } = shard;
	const load = async (): Promise<LoadedPage> => {
		if (dictionary === undefined) return await readDataPage(source, leaf, chunk.codec, page, undefined);
		const entries = await pages.get(`${name}#${dictionary.offset}`, async () => ({
			values: await readDictionary(source, chunk.codec, dictionary),
			bytes: dictionary.unpacked,
		}));
		const present = entries.values.filter((value) => value !== undefined);
		return await readDataPage(source, leaf, chunk.codec, page, present);
	};
	return await pages.get(`${name}#${page.offset}`, load);
}

function sha256Of(bytes: Uint8Array, createHasher: HasherFactory): string {
	const hash = createHasher();
	hash.update(bytes);
	return hash.digestHex();
}
