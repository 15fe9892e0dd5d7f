import { quote } from '@lorakit/format';
import type { SkippedPicture } from '../../data/dataset.js';
import { stemOf } from './caption-files.js';
import type { FolderFile } from './folder-files.js';

/** Pictures and the files that are their masks. */
export interface MaskedPictures {
	readonly pictures: readonly FolderFile[];
	/** By the picture's name. */
	readonly masks: ReadonlyMap<string, FolderFile>;
	/** Masks of no picture. */
	readonly skipped: readonly SkippedPicture[];
}

const SUFFIX = '-mask';

/**
 * Tell masks from pictures: `NAME-mask.EXT` beside a picture of the stem `NAME` is its mask, and so is `FOLDER/NAME.EXT`, at the
 * same place within FOLDER as the picture has in the set.
 * @param folder name of the folder of masks below the set's
 */
export function separateMasks(files: readonly FolderFile[], folder: string): MaskedPictures {
	const inFolder = (name: string): boolean => name.startsWith(`${folder}/`);
	const outside = files.filter(({ name }) => !inFolder(name));
	const stems = new Set(outside.map(({ name }) => stemOf(name)));
	const pictures: FolderFile[] = [];
	const byStem = new Map<string, FolderFile>();
	for (const file of outside) {
		const stem = stemOf(file.name);
		const of = stem.endsWith(SUFFIX) ? stem.slice(0, -SUFFIX.length) : undefined;
		if (of !== undefined && stems.has(of)) byStem.set(of, file);
		else pictures.push(file);
	}
	const skipped: SkippedPicture[] = [];
	for (const file of files.filter(({ name }) => inFolder(name))) {
		const stem = stemOf(file.name.slice(folder.length + 1));
		// A picture may carry the suffix itself, in a folder of masks.
		const of = stems.has(stem) || !stem.endsWith(SUFFIX) ? stem : stem.slice(0, -SUFFIX.length);
		if (!stems.has(of)) {
			skipped.push({
				name: file.name,
				reason: 'no-picture',
				message: `${quote(file.name)} is the mask of no picture; put the picture there or take it away.`,
			});
		} else if (byStem.has(of)) {
			skipped.push({
				name: file.name,
				reason: 'duplicate',
				message: `${quote(file.name)} is a second mask of one picture; take one away.`,
			});
		} else byStem.set(of, file);
	}
	const masks = new Map(
		pictures.flatMap(({ name }) => (byStem.has(stemOf(name)) ? [[name, byStem.get(stemOf(name)) as FolderFile] as const] : [])),
	);
	return { pictures, masks, skipped };
}
