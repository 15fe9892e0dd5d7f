import { FormatError, quote } from '@lorakit/format';
import type { HostTensor, Picture } from '@lorakit/runtime';
import { decodePicture } from '@lorakit/runtime/node';
import type { DatasetItem } from '../../data/dataset.js';
import { maskLatents, maskOf, picturePixels } from '../../data/picture-pixels.js';
import type { PicturePlan } from '../../data/plan-picture.js';

/** Where the mask of a picture comes from: its mask file, its own transparency (kohya's `--alpha_mask`), or nowhere. */
export type MaskSource = 'file' | 'alpha' | 'none';

/** A picture as a batch takes it. */
export interface TrainingPicture {
	/** (1, 3, h, w) in [-1, 1]. */
	readonly pixels: HostTensor;
	/** (1, 1, h / factor, w / factor) in [0, 1]; undefined where all of it counts. */
	readonly mask: HostTensor | undefined;
}

/**
 * Read, decode and bring to size one item.
 * @param factor pixels of a side of a latent
 * @throws {FormatError} those of decoding; `E_INPUT_CHANGED` when the file is no longer what was opened
 */
export async function readTrainingPicture(
	item: DatasetItem,
	plan: PicturePlan,
	mask: MaskSource = 'none',
	factor = 8,
): Promise<TrainingPicture> {
	const picture = await decodePicture(await item.read(), { name: item.name });
	if (picture.width !== item.width || picture.height !== item.height) {
		throw new FormatError(
			'E_INPUT_CHANGED',
			`${quote(item.name)} is ${picture.width}x${picture.height}, and was ${item.width}x${item.height} when the set was opened.`,
		);
	}
	const found = mask === 'alpha' ? alphaMask(picture.alpha, item) : mask === 'file' ? await fileMask(item) : undefined;
	return { pixels: picturePixels(picture, plan), mask: found === undefined ? undefined : maskLatents(found, plan, factor) };
}

function alphaMask(alpha: Uint8Array | undefined, { width, height }: DatasetItem): Picture | undefined {
	return alpha === undefined ? undefined : { width, height, channels: 1, data: alpha };
}

async function fileMask({ name, mask }: DatasetItem): Promise<Picture | undefined> {
	return mask === undefined ? undefined : maskOf(await decodePicture(await mask.read(), { name: `mask of ${name}` }));
}
