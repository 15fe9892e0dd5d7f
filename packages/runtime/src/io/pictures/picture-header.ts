import { FormatError, quote } from '@lorakit/format';
import type { Metadata } from 'sharp';
import { MAX_PICTURE_PIXELS } from '../../pictures/index.js';
import { firstLine, loadSharp, type Sharp } from './load-sharp.js';
import { type PictureKind, sniffPicture } from './picture-kind.js';
import { type PictureStructure, readStructure } from './picture-structure.js';

/** Largest picture file. A camera's TIFF of 60 megapixels in 16 bits has 360 million bytes as it comes, half of that packed. */
export const MAX_PICTURE_BYTES: number = 256 * 1024 * 1024;
/** Longest side: what a JPEG can say. */
export const MAX_PICTURE_SIDE: number = 65_535;

/** What a picture's header says; nothing was decoded. */
export interface PictureHeader {
	/** For people: `PNG`, `JPEG`, `WebP`, `GIF`, `TIFF`, `AVIF`. */
	readonly format: string;
	/** Upright: after the EXIF orientation. */
	readonly width: number;
	readonly height: number;
	/** EXIF, 1 to 8; 1 where it says none. */
	readonly orientation: number;
	/** More than one: an animated GIF, WebP or PNG, or the pages of a TIFF. */
	readonly frames: number;
	readonly alpha: boolean;
	/** Bits of a sample. */
	readonly bits: number;
}

/** A picture whose header was read, for the decoder. */
export interface OpenedPicture {
	readonly sharp: Sharp;
	readonly kind: PictureKind;
	readonly header: PictureHeader;
	readonly structure: PictureStructure;
	readonly space: string;
}

/**
 * The header of an encoded picture.
 * @param name of the file, for messages
 * @throws {FormatError} `E_EMPTY` for no bytes, `E_FORMAT` for no picture or a kind that is not decoded (named), `E_LIMIT` for
 * too many bytes or pixels, `E_TRUNCATED`, `E_USAGE` without sharp
 */
export async function readPictureHeader(bytes: Uint8Array, name: string): Promise<PictureHeader> {
	return (await openPicture(bytes, name)).header;
}

/** As `readPictureHeader`, with what decoding needs. */
export async function openPicture(bytes: Uint8Array, name: string): Promise<OpenedPicture> {
	if (bytes.length === 0) throw new FormatError('E_EMPTY', `${quote(name)} has no bytes; expected a picture.`);
	checkPictureBytes(bytes.length, name);
	const sniffed = sniffPicture(bytes);
	if (sniffed === undefined) {
		throw new FormatError('E_FORMAT', `${quote(name)} is no picture that is known here; PNG, JPEG, WebP, GIF, TIFF and AVIF are read.`);
	}
	const { kind } = sniffed;
	if (kind === undefined) {
		throw new FormatError(
			'E_FORMAT',
			`${quote(name)} is a ${sniffed.name} picture, which is not decoded here; convert it to PNG or JPEG (for example "magick FILE out.png").`,
		);
	}
	const structure = readStructure(kind, bytes);
	if (structure.sides !== undefined) checkSides(...structure.sides, name);
	const sharp = await loadSharp();
	let metadata: Metadata;
	try {
		metadata = await sharp(bytes, { limitInputPixels: false, failOn: 'error' }).metadata();
	} catch (cause) {
		throw brokenPicture(cause, name, sniffed.name, structure);
	}
	checkSides(metadata.width, metadata.height, name);
	if (metadata.format !== kind) {
		throw new FormatError('E_FORMAT', `${quote(name)} begins as ${sniffed.name} but is ${quote(metadata.format)}; convert it to PNG.`);
	}
	const frames = Math.max(structure.frames, metadata.pages ?? 1);
	const header: PictureHeader = {
		format: sniffed.name,
		width: metadata.autoOrient.width,
		height: metadata.autoOrient.height,
		orientation: metadata.orientation ?? 1,
		frames,
		alpha: metadata.hasAlpha,
		bits: metadata.depth === 'uchar' ? 8 : metadata.depth === 'ushort' ? 16 : 32,
	};
	return { sharp, kind, header, structure, space: metadata.space };
}

/** @throws {FormatError} `E_LIMIT` */
export function checkPictureBytes(size: number, name: string): void {
	if (size <= MAX_PICTURE_BYTES) return;
	throw new FormatError('E_LIMIT', `${quote(name)} has ${size} bytes; the limit for a picture is ${MAX_PICTURE_BYTES}.`);
}

function checkSides(width: number, height: number, name: string): void {
	if (width >= 1 && height >= 1 && width <= MAX_PICTURE_SIDE && height <= MAX_PICTURE_SIDE && width * height <= MAX_PICTURE_PIXELS) return;
	throw new FormatError(
		'E_LIMIT',
		`${quote(name)} says it is ${width}x${height}; pictures have sides from 1 to ${MAX_PICTURE_SIDE} and at most ${MAX_PICTURE_PIXELS} pixels: make it smaller.`,
	);
}

/** What the decoder said, as a refusal. */
export function brokenPicture(cause: unknown, name: string, format: string, { cut }: PictureStructure): FormatError {
	const why = firstLine(cause);
	if (/exceeds pixel limit/i.test(why)) {
		return new FormatError('E_LIMIT', `${quote(name)} has more than ${MAX_PICTURE_PIXELS} pixels; make it smaller.`, { cause });
	}
	if (cut || /premature end|unexpected end|truncated|bad seek|end of file|read error at scanline/i.test(why)) {
		return new FormatError('E_TRUNCATED', `${quote(name)} ends in the middle of the picture; fetch the ${format} file again.`, { cause });
	}
	return new FormatError('E_FORMAT', `${quote(name)} is a broken ${format} picture (${why}); fetch or save it again.`, { cause });
}
