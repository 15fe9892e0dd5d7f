import { createHash } from 'node:crypto';
import { FormatError, quote } from '@lorakit/format';
import { openSource } from '@lorakit/format/node';
import { f32Tensor, type HostTensor, pixelsOf } from '@lorakit/runtime';
import { readPng } from './read-png.js';

/** The picture that a run starts from. */
export interface InitPicture {
	readonly path: string;
	readonly sha256: string;
	readonly width: number;
	readonly height: number;
	/** (1, 3, height, width) in [-1, 1] */
	readonly pixels: HostTensor;
}

const MAX_BYTES = 256 * 1024 * 1024;

/** All bytes of a picture file. @throws {FormatError} `E_LIMIT`, and those of reading. */
export async function readPictureFile(path: string): Promise<Uint8Array> {
	const source = await openSource(path);
	try {
		if (source.size > MAX_BYTES) {
			throw new FormatError('E_LIMIT', `${quote(path)} has ${source.size} bytes; the limit for a picture is ${MAX_BYTES}.`);
		}
		return await source.read(0, source.size);
	} finally {
		await source.close();
	}
}

/** @throws {FormatError} as `readPng`. */
export async function readInitPicture(path: string): Promise<InitPicture> {
	const bytes = await readPictureFile(path);
	const { width, height, data } = readPng(bytes, path);
	return {
		path,
		sha256: createHash('sha256').update(bytes).digest('hex'),
		width,
		height,
		pixels: f32Tensor([1, 3, height, width], pixelsOf(data, height, width)),
	};
}
