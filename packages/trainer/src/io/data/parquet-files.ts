import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { createNodeSha256, openFileSource, readError } from '@lorakit/format/node';
import type { Dataset } from '../../data/dataset.js';
import { openParquetDataset, type ParquetDatasetOptions, type ParquetShard } from '../../data/parquet-dataset.js';
import { chooseShards, type SplitOptions } from '../../data/parquet-shards.js';
import { inspectPicture, type PictureCheck } from './check-picture.js';
import { folderFiles } from './folder-files.js';

/** Options of `openParquetFiles`. */
export interface ParquetFilesOptions extends Omit<ParquetDatasetOptions, 'inspect' | 'createHasher'>, SplitOptions {
	/** `decode` (the default) finds what is broken before a run; `header` only reads and hashes. */
	readonly check?: PictureCheck | undefined;
}

/**
 * A data set of Parquet files on disk: one file, or a folder in the form of a clone of the Hub's repository (`data/train-*`,
 * shards, several splits).
 *
 * @param place a `.parquet` file or a folder
 * @throws {FormatError} as `openParquetDataset` and `chooseShards`; `E_IO`, `E_NOT_A_FILE`; `E_EMPTY` for a folder without
 *   Parquet files; `E_USAGE` without sharp
 */
export async function openParquetFiles(place: string, options: ParquetFilesOptions = {}): Promise<Dataset> {
	if (!isFolder(place)) return await openShards([{ name: path.basename(place), file: place }], { name: place, ...options });
	const { files } = folderFiles(place);
	const byName = new Map(files.map(({ name, path: file }) => [name, file]));
	const chosen = chooseShards([...byName.keys()], quote(place), options);
	if (chosen === undefined) throw new FormatError('E_EMPTY', `${quote(place)} holds no Parquet files (.parquet).`);
	return await openShards(
		chosen.map((name) => ({ name, file: byName.get(name) ?? path.join(place, name) })),
		{ name: place, ...options },
	);
}

/** Shards by their names in the set and their files. @throws {FormatError} as `openParquetFiles` */
export async function openShards(
	shards: readonly { readonly name: string; readonly file: string }[],
	options: ParquetFilesOptions,
): Promise<Dataset> {
	const opened: ParquetShard[] = [];
	try {
		for (const { name, file } of shards) opened.push({ name, source: await openFileSource(file, { name }) });
	} catch (error) {
		for (const { source } of opened) await source.close();
		throw error;
	}
	const { check = 'decode', ...rest } = options;
	return await openParquetDataset(opened, {
		...rest,
		createHasher: createNodeSha256,
		inspect: (name, bytes) => inspectPicture(name, bytes, check),
	});
}

function isFolder(place: string): boolean {
	try {
		return fs.statSync(place).isDirectory();
	} catch (error) {
		throw readError(error, place);
	}
}
