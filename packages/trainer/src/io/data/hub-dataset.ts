import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { fetchDataset, type HubFetchOptions } from '@lorakit/runtime/node';
import type { Dataset } from '../../data/dataset.js';
import { chooseShards } from '../../data/parquet-shards.js';
import { folderFiles } from './folder-files.js';
import { chooseImageFolder, type FolderChoice } from './hub-image-folder.js';
import { openImageFolder } from './image-folder.js';
import { openShards, type ParquetFilesOptions } from './parquet-files.js';

/** Options of `openHubDataset`. */
export interface HubDatasetOptions extends Omit<ParquetFilesOptions, 'name' | 'onProgress' | 'signal'> {
	/** Where it is fetched from and how; its signal ends opening too. */
	readonly hub?: HubFetchOptions | undefined;
	/** Told while pictures are looked at: how many, and of all. */
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** A data set of the Hub and which one it is. */
export interface HubOpened {
	readonly dataset: Dataset;
	/** `owner/name`. */
	readonly repo: string;
	/** The commit: with it the same files can be had again. */
	readonly revision: string;
	readonly kind: 'parquet' | 'image-folder';
}

/**
 * A data set of the Hub by its name, from the cache or fetched into it: Parquet files of one split; else pictures with
 * `metadata.jsonl` or `.txt` captions; else the Parquet form that the Hub makes itself (`refs/convert/parquet`). Only the files
 * that are read are fetched.
 *
 * @param name `owner/name`, `owner/name@revision`, `hf://datasets/owner/name`, or the address of its page
 * @throws {FormatError} as `fetchDataset`, `openParquetFiles` and `openImageFolder`
 */
export async function openHubDataset(name: string, options: HubDatasetOptions = {}): Promise<HubOpened> {
	const { hub = {}, ...rest } = options;
	let shards: readonly string[] | undefined;
	let pictures: FolderChoice | undefined;
	const found = await fetchDataset(name, {
		...hub,
		listSnapshot: (folder) => folderFiles(folder).files.map((file) => file.name),
		choose(paths) {
			shards = chooseShards(paths, name, options);
			pictures = shards === undefined ? chooseImageFolder(paths, name, options) : undefined;
			return shards ?? pictures?.files;
		},
	});
	const { repo, revision, folder, warnings } = found;
	const opened = await open();
	// Names that the Hub lists and that cannot be files here are told of with the pictures.
	const dataset =
		warnings.length === 0 ? opened : { ...opened, notes: [...(opened.notes ?? []), ...warnings.map(({ message }) => message)] };
	return { dataset, repo, revision, kind: shards === undefined ? 'image-folder' : 'parquet' };

	async function open(): Promise<Dataset> {
		if (shards !== undefined) {
			const files = shards.map((shard) => ({ name: shard, file: path.join(folder, ...shard.split('/')) }));
			return await openShards(files, { ...rest, name: repo, signal: hub.signal });
		}
		if (pictures === undefined) throw new FormatError('E_INTERNAL', `${quote(name)} was fetched without anything in it.`);
		if (rest.imageColumn !== undefined) {
			throw new FormatError('E_USAGE', `${repo} is a folder of pictures, which has no columns; leave imageColumn out.`);
		}
		const { onProgress, captionColumn, prompt, onBad, duplicates, check } = rest;
		const root = path.join(folder, ...pictures.root.split('/'));
		const set = await openImageFolder(root, { onProgress, captionColumn, prompt, onBad, duplicates, check });
		return { ...set, name: repo };
	}
}
