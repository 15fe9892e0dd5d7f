import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { aspectBuckets } from '../../data/aspect-buckets.js';
import { assignSizes, type SizedItem } from '../../data/assign-sizes.js';
import type { Dataset } from '../../data/dataset.js';
import { datasetReport } from '../../data/dataset-report.js';
import type { DataConfig, ImagesConfig, RunConfig } from '../../run/config/run-config.js';
import { openHubDataset } from '../data/hub-dataset.js';
import { openImageFolder } from '../data/image-folder.js';
import { openParquetFiles } from '../data/parquet-files.js';
import type { TrainHooks } from './hooks.js';

interface OpenedSet {
	readonly dataset: Dataset;
	/** `owner/name` of a set of the Hub. */
	readonly repo: string | undefined;
}

/** A data set with the sizes its pictures are trained at. */
export interface SizedSet extends OpenedSet {
	readonly items: readonly SizedItem[];
}

/**
 * Open what a configuration trains on.
 * @param prompt one caption for all: DreamBooth's instance prompt, or a stand-in for pictures whose captions are templates
 * @throws {FormatError} those of opening and reading; `E_CONFIG` for a kind that the path is not
 */
export async function openTrainingData(config: RunConfig, prompt: string | undefined, hooks: TrainHooks): Promise<SizedSet> {
	const { data, images } = config;
	const opened = await openSet(data, prompt, hooks);
	try {
		const sized = sizedSet(opened, images, data.on_bad, hooks);
		const limit = data.max_train_samples;
		return limit === null ? sized : { ...sized, items: sized.items.slice(0, limit) };
	} catch (error) {
		await opened.dataset.close();
		throw error;
	}
}

/** A folder of pictures that is no setting of the data: class pictures, held-out ones. @throws {FormatError} as `openTrainingData` */
export async function openFolderSet(folder: string, prompt: string | undefined, config: RunConfig, hooks: TrainHooks): Promise<SizedSet> {
	const dataset = await openImageFolder(folder, {
		prompt,
		captionColumn: config.data.caption_column,
		onBad: config.data.on_bad,
		onProgress: (done, total) => hooks.onWork?.('reading pictures', done, total, 'count'),
	});
	try {
		return sizedSet({ dataset, repo: undefined }, config.images, config.data.on_bad, hooks);
	} catch (error) {
		await dataset.close();
		throw error;
	}
}

function sizedSet(opened: OpenedSet, images: ImagesConfig, onBad: DataConfig['on_bad'], hooks: TrainHooks): SizedSet {
	const { dataset } = opened;
	const { items, skipped } = assignSizes(dataset.items, sizeRule(images), onBad);
	for (const line of datasetReport({ ...dataset, items: items.map(({ item }) => item), skipped: [...dataset.skipped, ...skipped] }))
		hooks.note?.(line);
	for (const line of dataset.notes ?? []) hooks.note?.(line);
	if (items.length === 0) throw new FormatError('E_EMPTY', `${quote(dataset.name)} has no picture that can be brought to size.`);
	return { ...opened, items };
}

function sizeRule({ resolution, buckets }: ImagesConfig): Parameters<typeof assignSizes>[1] {
	if (!buckets.enabled) return { square: resolution };
	return {
		buckets: aspectBuckets({
			resolution: { width: resolution, height: resolution },
			step: buckets.step,
			// kohya's sides are for 512 px; others are as far from their resolution.
			minSide: buckets.min ?? Math.max(8, resolution / 2 - ((resolution / 2) % 8)),
			maxSide: buckets.upscale ? (buckets.max ?? resolution * 2) : undefined,
			noUpscale: !buckets.upscale,
		}),
	};
}

async function openSet(data: DataConfig, prompt: string | undefined, hooks: TrainHooks): Promise<OpenedSet> {
	const onProgress = (done: number, total: number): void => hooks.onWork?.('reading pictures', done, total, 'count');
	const folder = { prompt, captionColumn: data.caption_column, onBad: data.on_bad, onProgress };
	const table = { ...folder, split: data.split };
	switch (kindOf(data)) {
		case 'folder':
			return { dataset: await openImageFolder(data.path, folder), repo: undefined };
		case 'parquet':
			// The signal ends reading a table of millions of rows.
			return {
				dataset: await openParquetFiles(data.path, { ...table, imageColumn: data.image_column, signal: hooks.signal }),
				repo: undefined,
			};
		case 'hub': {
			const { dataset, repo, kind } = await openHubDataset(data.path, {
				...table,
				...(data.image_column === 'image' ? {} : { imageColumn: data.image_column }),
				hub: {
					revision: data.revision ?? undefined,
					signal: hooks.signal,
					onProgress: ({ repo: from, totalReceived, totalSize }) => hooks.onWork?.(`fetching ${from}`, totalReceived, totalSize, 'bytes'),
				},
			});
			hooks.note?.(`${repo} is a data set of the Hub in the form of ${kind === 'parquet' ? 'Parquet files' : 'a folder of pictures'}`);
			return { dataset, repo };
		}
	}
}

function kindOf({ kind, path: place }: DataConfig): 'folder' | 'parquet' | 'hub' {
	const stat = fs.statSync(place, { throwIfNoEntry: false });
	if (kind !== 'auto') return kind;
	if (stat?.isFile() === true) return 'parquet';
	if (stat === undefined) return 'hub';
	const names = fs.readdirSync(place);
	return names.some((name) => path.extname(name) === '.parquet') ? 'parquet' : 'folder';
}
