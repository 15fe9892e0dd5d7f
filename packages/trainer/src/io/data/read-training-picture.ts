import { FormatError, quote } from '@lorakit/format';
import type { HostTensor, Picture } from '@lorakit/runtime';
import { type DecodedPicture, decodePicture } from '@lorakit/runtime/node';
import type { DatasetItem } from '../../data/dataset.js';
import { maskLatents, maskOf, picturePixels } from '../../data/picture-pixels.js';
import type { PicturePlan } from '../../data/plan-picture.js';

/** Where the mask of a picture comes from: its mask file, its own transparency (kohya's `--alpha_mask`), or nowhere. */
export type MaskSource = 'file' | 'alpha' | 'none';

/**
 * Read, decode and bring to size one item.
 * @returns (1, 3, h, w) in [-1, 1]
 * @throws {FormatError} those of decoding; `E_INPUT_CHANGED` when the file is no longer what was opened
 */
export async function readTrainingPixels(item: DatasetItem, plan: PicturePlan): Promise<HostTensor> {
	return picturePixels(await decodeItem(item), plan);
}

/**
 * What of an item counts. From a mask file, the picture itself is not read.
 * @param factor pixels of a side of a latent
 * @returns (1, 1, h / factor, w / factor) in [0, 1]; undefined where all of it counts
 * @throws {FormatError} as `readTrainingPixels`
 */
export async function readTrainingMask(
	item: DatasetItem,
	plan: PicturePlan,
	source: MaskSource,
	factor = 8,
): Promise<HostTensor | undefined> {
	const found = source === 'alpha' ? alphaMask((await decodeItem(item)).alpha, item) : source === 'file' ? await fileMask(item) : undefined;
	return found === undefined ? undefined : maskLatents(found, plan, factor);
}

async function decodeItem(item: DatasetItem): Promise<DecodedPicture> {
	const picture = await decodePicture(await item.read(), { name: item.name });
	if (picture.width !== item.width || picture.height !== item.height) {
		throw new FormatError(
			'E_INPUT_CHANGED',
			`${quote(item.name)} is ${picture.width}x${picture.height}, and was ${item.width}x${item.height} when the set was opened.`,
		);
	}
	return picture;
}

function alphaMask(alpha: Uint8Array | undefined, { width, height }: DatasetItem): Picture | undefined {
	return alpha === undefined ? undefined : { width, height, channels: 1, data: alpha };
}

async function fileMask({ name, mask }: DatasetItem): Promise<Picture | undefined> {
	return mask === undefined ? undefined : maskOf(await decodePicture(await mask.read(), { name: `mask of ${name}` }));
}
