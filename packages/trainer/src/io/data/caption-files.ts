import { FormatError, quote } from '@lorakit/format';
import type { SkippedPicture } from '../../data/dataset.js';
import { captionLines, metadataLines } from '../../data/metadata-lines.js';
import { type FolderFile, nameBelow } from './folder-files.js';
import { readWholeFile } from './read-file.js';

/** Largest metadata.jsonl: a million lines of some hundred bytes. */
export const MAX_METADATA_BYTES: number = 512 * 1024 * 1024;
/** Largest caption file. */
export const MAX_CAPTION_BYTES: number = 1024 * 1024;

/** Captions of pictures, by the pictures' names. */
export interface FolderCaptions {
	readonly captions: ReadonlyMap<string, readonly string[]>;
	/** What stands in the way of a caption, by the picture's name: the picture is skipped for it. */
	readonly bad: ReadonlyMap<string, SkippedPicture>;
	/** What belongs to no picture. */
	readonly skipped: readonly SkippedPicture[];
}

/**
 * The captions of a folder: of `metadata.jsonl` files (each for the pictures below its own folder; the one nearest to a picture
 * counts) and of `NAME.txt` files beside pictures that no metadata.jsonl names.
 * @param pictures names of the pictures there are
 * @param column of metadata.jsonl
 * @throws {FormatError} `E_CONFIG` for a metadata.csv or metadata.parquet without a metadata.jsonl; those of reading a metadata.jsonl
 */
export async function folderCaptions(files: readonly FolderFile[], pictures: readonly string[], column: string): Promise<FolderCaptions> {
	const metadata = files.filter(({ name }) => baseOf(name) === 'metadata.jsonl');
	const other = files.find(({ name }) => /^metadata\.(csv|parquet)$/.test(baseOf(name)));
	if (metadata.length === 0 && other !== undefined) {
		throw new FormatError(
			'E_CONFIG',
			`${quote(other.name)} is not read here; captions come from metadata.jsonl or .txt files: write it as metadata.jsonl.`,
		);
	}
	const found = new Captions(pictures);
	// The deepest first: the first one that names a picture is the nearest.
	for (const file of [...metadata].sort((a, b) => depthOf(b.name) - depthOf(a.name))) {
		found.addMetadata(file.name, await readWholeFile(file.path, file.name, MAX_METADATA_BYTES), column);
	}
	for (const file of files) if (/\.txt$/i.test(file.name)) await found.addText(file);
	return found;
}

class Captions implements FolderCaptions {
	readonly captions: Map<string, readonly string[]> = new Map();
	readonly bad: Map<string, SkippedPicture> = new Map();
	readonly skipped: SkippedPicture[] = [];
	readonly #pictures: ReadonlySet<string>;
	readonly #byStem: Map<string, string[]> = new Map();
	/** Where a picture's captions are from. */
	readonly #places: Map<string, { readonly file: string; readonly line: number }> = new Map();

	constructor(pictures: readonly string[]) {
		this.#pictures = new Set(pictures);
		for (const name of pictures) {
			const stem = stemOf(name);
			const same = this.#byStem.get(stem);
			if (same === undefined) this.#byStem.set(stem, [name]);
			else same.push(name);
		}
	}

	addMetadata(file: string, bytes: Uint8Array, column: string): void {
		const folder = file.slice(0, Math.max(0, file.lastIndexOf('/')));
		for (const entry of metadataLines(bytes, column)) {
			const name = `${file}:${entry.line}`;
			const skip = (reason: SkippedPicture['reason'], rest: string): void => {
				this.skipped.push({ name, reason, message: `Line ${entry.line} of ${quote(file)} ${rest}` });
			};
			if ('message' in entry) {
				skip(entry.reason, entry.message);
				continue;
			}
			const picture = nameBelow(folder, entry.fileName);
			if (picture === undefined) {
				skip('unsafe-path', `names ${quote(entry.fileName)}, which leads out of the folder; name files below it, with "/".`);
				continue;
			}
			const before = this.#places.get(picture);
			if (!this.#pictures.has(picture))
				skip(
					'no-picture',
					`names ${quote(entry.fileName)}, which is no picture of the set (by its name and extension); put it there or take the line away.`,
				);
			else if (before?.file === file)
				skip('duplicate', `names ${quote(entry.fileName)}, as line ${before.line} does, which counts; take one away.`);
			else if (before === undefined) this.#take(picture, file, entry);
		}
	}

	#take(picture: string, file: string, { line, captions }: { readonly line: number; readonly captions: readonly string[] }): void {
		this.#places.set(picture, { file, line });
		if (captions.length > 0) this.captions.set(picture, captions);
		else this.bad.set(picture, noCaption(picture, `line ${line} of ${quote(file)} gives it none`));
	}

	async addText(file: FolderFile): Promise<void> {
		const pictures = this.#byStem.get(stemOf(file.name)) ?? [];
		if (pictures.length === 0) {
			const message = `${quote(file.name)} has no picture of the same name beside it; put it there or take the caption away.`;
			this.skipped.push({ name: file.name, reason: 'no-picture', message });
			return;
		}
		const open = pictures.filter((picture) => !this.#places.has(picture));
		if (open.length === 0) return;
		let read: ReturnType<typeof captionLines>;
		try {
			read = captionLines(await readWholeFile(file.path, file.name, MAX_CAPTION_BYTES));
		} catch (error) {
			if (!(error instanceof FormatError)) throw error;
			read = { wrong: `cannot be read: ${error.message}` };
		}
		for (const picture of open) {
			if ('wrong' in read) this.bad.set(picture, { name: picture, reason: 'bad-caption', message: `${quote(file.name)} ${read.wrong}` });
			else if (read.captions.length === 0) this.bad.set(picture, noCaption(picture, `${quote(file.name)} is empty`));
			else this.captions.set(picture, read.captions);
		}
	}
}

/** The report of a picture that no caption was found for. */
export function noCaption(name: string, why: string): SkippedPicture {
	return { name, reason: 'no-caption', message: `${quote(name)} has no caption: ${why}; write one or take the picture away.` };
}

export function baseOf(name: string): string {
	return name.slice(name.lastIndexOf('/') + 1);
}

/** Without its extension. */
export function stemOf(name: string): string {
	return name.replace(/\.[^./]*$/, '');
}

function depthOf(name: string): number {
	return name.split('/').length;
}
