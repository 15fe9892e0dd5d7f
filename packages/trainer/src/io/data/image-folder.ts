import { FormatError, quote } from '@lorakit/format';
import { createNodeSha256 } from '@lorakit/format/node';
import type { Dataset, DatasetItem, OnBad, SkippedPicture } from '../../data/dataset.js';
import { datasetDigest } from '../../data/dataset-digest.js';
import { listSkipped } from '../../data/dataset-report.js';
import { type FolderCaptions, folderCaptions, noCaption } from './caption-files.js';
import { type CheckedPicture, checkPictureFile, type PictureCheck } from './check-picture.js';
import { type FolderFile, folderFiles } from './folder-files.js';
import { separateMasks } from './mask-files.js';

/** Options of `openImageFolder`. */
export interface ImageFolderOptions {
	/** One caption for all, instead of captions from files: the instance or class prompt of DreamBooth. */
	readonly prompt?: string | undefined;
	/** Key of the caption in metadata.jsonl; default `text`. */
	readonly captionColumn?: string | undefined;
	/** Folder of masks below the set's; default `masks`. */
	readonly maskFolder?: string | undefined;
	/** Pictures that cannot be used: name them and go on (the default), or refuse the set. */
	readonly onBad?: OnBad | undefined;
	/** Pictures with the same bytes and captions as an earlier one: leave them out (the default), or train on each. */
	readonly duplicates?: 'skip' | 'keep' | undefined;
	/** `decode` (the default) finds what is broken before a run; `header` only reads and hashes. */
	readonly check?: PictureCheck | undefined;
	readonly onProgress?: ((done: number, total: number) => void) | undefined;
}

/** Names that mean to be pictures; those that are not decoded are named in the report. */
const PICTURE_NAME = /\.(png|apng|jpe?g|jfif|webp|gif|tiff?|avif|bmp|heic|heif|jxl)$/i;
/** Pictures that are looked at together: each may take its decoded size. */
const AT_ONCE = 2;

/**
 * A folder of pictures with captions: `metadata.jsonl` in the form of Hugging Face's image folders, `.txt` files beside the
 * pictures, or one prompt for all (a DreamBooth folder of instance or class pictures). Sub-folders are read too. Every picture
 * is looked at; what cannot be used stands in `skipped`, and nothing of it is lost in silence.
 *
 * @throws {FormatError} `E_IO`, `E_NOT_A_FILE`, `E_LIMIT` of the folder; `E_CONFIG` for captions in a form that is not read;
 * `E_EMPTY` when nothing is left; `E_FORMAT` under `onBad: 'refuse'`, naming what is wrong; `E_USAGE` without sharp
 */
export async function openImageFolder(folder: string, options: ImageFolderOptions = {}): Promise<Dataset> {
	const { prompt, captionColumn = 'text', maskFolder = 'masks', onBad = 'skip', check = 'decode' } = options;
	const { files, unsafe } = folderFiles(folder);
	const skipped: SkippedPicture[] = unsafe.map(({ name, message }) => ({ name, reason: 'unsafe-path', message }));
	const {
		pictures,
		masks,
		skipped: strayMasks,
	} = separateMasks(
		files.filter(({ name }) => PICTURE_NAME.test(name)),
		maskFolder,
	);
	skipped.push(...strayMasks);
	const captions =
		prompt === undefined
			? await folderCaptions(
					files,
					pictures.map(({ name }) => name),
					captionColumn,
				)
			: promptForAll(pictures, prompt);
	skipped.push(...captions.skipped);
	const items: DatasetItem[] = [];
	const notes: string[] = [];
	let done = 0;
	const results = await inOrder(pictures, AT_ONCE, async (file) => {
		const result = await openItem(file, masks.get(file.name), captions, check);
		options.onProgress?.(++done, pictures.length);
		return result;
	});
	const first = new Map<string, string>();
	for (const result of results) {
		if ('reason' in result) {
			skipped.push(result);
			continue;
		}
		const { item } = result;
		const key = JSON.stringify([item.sha256, item.mask?.sha256 ?? null, item.captions]);
		const same = first.get(key);
		if (same !== undefined && options.duplicates !== 'keep') {
			skipped.push({
				name: item.name,
				reason: 'duplicate',
				message: `${quote(item.name)} has the bytes and the caption of ${quote(same)}; take one away.`,
			});
			continue;
		}
		first.set(key, same ?? item.name);
		items.push(item);
		notes.push(...result.notes);
	}
	if (onBad === 'refuse') refuseBad(folder, skipped);
	if (items.length === 0) throw nothingLeft(folder, skipped);
	return { name: folder, items, digest: datasetDigest(items, createNodeSha256), skipped, notes, close: async () => {} };
}

interface OpenedItem {
	readonly item: DatasetItem;
	readonly notes: readonly string[];
}

async function openItem(
	file: FolderFile,
	maskFile: FolderFile | undefined,
	captions: FolderCaptions,
	check: PictureCheck,
): Promise<OpenedItem | SkippedPicture> {
	const { name } = file;
	const own = captions.captions.get(name);
	if (own === undefined) return captions.bad.get(name) ?? noCaption(name, 'neither metadata.jsonl nor a .txt file names it');
	const picture = await checkPictureFile(file, check);
	if ('reason' in picture) return picture;
	const mask = maskFile === undefined ? undefined : await checkMask(name, picture, maskFile, check);
	if (mask !== undefined && 'reason' in mask) return mask;
	const item: DatasetItem = { name, captions: own, ...picture.picture, ...(mask === undefined ? {} : { mask: mask.picture }) };
	return { item, notes: [...picture.notes, ...(mask?.notes ?? [])] };
}

async function checkMask(
	name: string,
	{ picture }: CheckedPicture,
	file: FolderFile,
	check: PictureCheck,
): Promise<CheckedPicture | SkippedPicture> {
	const mask = await checkPictureFile(file, check);
	if ('reason' in mask) return { name, reason: 'bad-mask', message: `The mask of ${quote(name)} cannot be used: ${mask.message}` };
	const { width, height } = mask.picture;
	if (width === picture.width && height === picture.height) return mask;
	return {
		name,
		reason: 'bad-mask',
		message: `The mask ${quote(file.name)} is ${width}x${height}, but ${quote(name)} is ${picture.width}x${picture.height}; make them equal.`,
	};
}

function promptForAll(pictures: readonly FolderFile[], prompt: string): FolderCaptions {
	return { captions: new Map(pictures.map(({ name }) => [name, [prompt]])), bad: new Map(), skipped: [] };
}

/** `work` on all, some at once, the results in the order of `all`. */
async function inOrder<T, R>(all: readonly T[], atOnce: number, work: (one: T) => Promise<R>): Promise<readonly R[]> {
	const results: R[] = new Array(all.length);
	const waiting = all.entries();
	const worker = async (): Promise<void> => {
		for (const [i, one] of waiting) results[i] = await work(one);
	};
	await Promise.all(Array.from({ length: atOnce }, worker));
	return results;
}

function refuseBad(folder: string, skipped: readonly SkippedPicture[]): void {
	const bad = skipped.filter(({ reason }) => reason !== 'duplicate');
	if (bad.length === 0) return;
	throw new FormatError(
		'E_FORMAT',
		`${bad.length} of what ${quote(folder)} holds cannot be used, which was to be refused: ${listSkipped(bad)}`,
	);
}

function nothingLeft(folder: string, skipped: readonly SkippedPicture[]): FormatError {
	const why = skipped.length === 0 ? 'it holds none (PNG, JPEG, WebP, GIF, TIFF and AVIF are read).' : listSkipped(skipped);
	return new FormatError('E_EMPTY', `${quote(folder)} has no picture to train on: ${why}`);
}
