import { createNodeSha256 } from '@lorakit/format/node';
import { f32Tensor, type HostTensor, type Picture, pixelsOf, resizePicture } from '@lorakit/runtime';
import { decodePicture, readPictureFile } from '@lorakit/runtime/node';

/** The picture that a run starts from, in its own size. */
export interface InitPicture {
	readonly path: string;
	readonly sha256: string;
	/** Upright, RGB. */
	readonly picture: Picture;
	readonly notes: readonly string[];
}

/**
 * As diffusers' `load_image` reads it: turned upright by EXIF, in RGB.
 * @throws {FormatError} as `decodePicture`
 */
export async function readInitPicture(path: string): Promise<InitPicture> {
	const bytes = await readPictureFile(path);
	const { notes, ...picture } = await decodePicture(bytes, { name: path });
	const hash = createNodeSha256();
	hash.update(bytes);
	return { path, sha256: hash.digestHex(), picture, notes };
}

/**
 * (1, 3, height, width) in [-1, 1], resized by Lanczos as diffusers' VaeImageProcessor does.
 * @throws {FormatError} as `resizePicture`
 */
export function startPixels({ picture }: InitPicture, width: number, height: number): HostTensor {
	const { data } = resizePicture(picture, width, height, 'lanczos');
	return f32Tensor([1, 3, height, width], pixelsOf(data, height, width));
}
