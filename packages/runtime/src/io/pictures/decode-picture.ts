import { FormatError, quote } from '@lorakit/format';
import { openSource } from '@lorakit/format/node';
import { MAX_PICTURE_PIXELS, type Picture } from '../../pictures/index.js';
import { brokenPicture, checkPictureBytes, type OpenedPicture, openPicture, type PictureHeader } from './picture-header.js';
import { clipGrey16, cmykToRgb, overWhite, paintTransparent, type RawPicture, type RgbAlpha, splitAlpha } from './pillow-rgb.js';

/** Options of `decodePicture`. */
export interface DecodePictureOptions {
	/** Of the file, for messages; a path has its own. */
	readonly name?: string | undefined;
	/**
	 * What becomes of transparency: `drop` (the default) leaves the colours beneath as they are, as Pillow's
	 * `image.convert("RGB")` in diffusers' scripts does; `white` lays the picture over white.
	 */
	readonly alpha?: 'drop' | 'white' | undefined;
	/** Of an animated picture decode the first frame instead of refusing it. */
	readonly firstFrame?: boolean | undefined;
}

/** A picture, upright, in 8-bit RGB. */
export interface DecodedPicture extends Picture {
	readonly channels: 3;
	/** (height, width): what was transparent, whatever was done about it; undefined where the file has none. */
	readonly alpha: Uint8Array | undefined;
	readonly header: PictureHeader;
	/** Sentences about what the picture lost on the way. */
	readonly notes: readonly string[];
}

/**
 * Decode a PNG, JPEG, WebP, GIF, TIFF or AVIF to what Pillow's `exif_transpose(Image.open(file)).convert("RGB")` gives: turned
 * upright by EXIF, colour profiles left out of account, alpha dropped, the upper 8 of 16 bits kept (but grey of 16 bits cut
 * off at 255, as Pillow does: a note says so), CMYK by plain arithmetic. Equal to Pillow 12.3 to the grey level for PNG, JPEG,
 * WebP, GIF and TIFF; AVIF differs where its decoders interpolate colour differently. Sizes are checked before decoding.
 *
 * @param source the bytes of a picture file, or what `openSource` takes: a path, `http(s)://`, `hf://`
 * @throws {FormatError} `E_EMPTY`, `E_TRUNCATED`, `E_LIMIT`; `E_FORMAT` for what is no picture, broken, animated or of a kind
 * that is not decoded; `E_USAGE` without sharp; those of opening a path
 */
export async function decodePicture(source: Uint8Array | string, options: DecodePictureOptions = {}): Promise<DecodedPicture> {
	const name = options.name ?? (typeof source === 'string' ? source : 'picture');
	const bytes = typeof source === 'string' ? await readPictureFile(source) : source;
	const opened = await openPicture(bytes, name);
	const { header } = opened;
	if (header.frames > 1 && options.firstFrame !== true) {
		throw new FormatError(
			'E_FORMAT',
			`${quote(name)} is a ${header.format} of ${header.frames} frames; a single picture is needed: save one of them as a PNG.`,
		);
	}
	const { rgb, notes } = await decodeSamples(bytes, opened, name);
	const { width, height } = header;
	const data = options.alpha === 'white' ? overWhite(rgb) : rgb.data;
	return { width, height, channels: 3, data, alpha: rgb.alpha, header, notes };
}

/** All bytes of a picture file, refused by its size before they are read. @throws {FormatError} `E_LIMIT`, and those of opening */
export async function readPictureFile(spec: string): Promise<Uint8Array> {
	const source = await openSource(spec);
	try {
		checkPictureBytes(source.size, spec);
		return await source.read(0, source.size);
	} finally {
		await source.close();
	}
}

interface Samples {
	readonly rgb: RgbAlpha;
	readonly notes: readonly string[];
}

async function decodeSamples(bytes: Uint8Array, opened: OpenedPicture, name: string): Promise<Samples> {
	const { structure, space, kind, header } = opened;
	if (space === 'cmyk') {
		return { rgb: { data: cmykToRgb(await rawSamples(bytes, opened, 'cmyk', name)), alpha: undefined }, notes: [] };
	}
	// Grey of 16 bits with alpha is RGBA to Pillow, and scaled.
	if (structure.grey16 || (kind === 'tiff' && space === 'grey16' && !header.alpha)) {
		const { channels, data } = await rawSamples(bytes, opened, 'grey16', name);
		const { data: rgb, clipped } = clipGrey16(new Uint16Array(new Uint8Array(data).buffer), channels);
		const note = `${quote(name)} is grey in 16 bits, which Pillow cuts off at 255 of 65535, and so it is here: ${clipped} of ${rgb.length / 3} pixels became white; save it in 8 bits.`;
		return { rgb: { data: rgb, alpha: undefined }, notes: clipped === 0 ? [] : [note] };
	}
	const rgb = splitAlpha(await rawSamples(bytes, opened, 'srgb', name));
	if (structure.transparent !== undefined) paintTransparent(rgb, structure.transparent);
	return { rgb, notes: [] };
}

type Space = 'srgb' | 'cmyk' | 'grey16';

async function rawSamples(bytes: Uint8Array, opened: OpenedPicture, space: Space, name: string): Promise<RawPicture> {
	const { sharp, header, structure } = opened;
	const { width, height } = header;
	const depth = space === 'grey16' ? 'ushort' : 'uchar';
	let decoded: { readonly data: Buffer; readonly info: { readonly width: number; readonly height: number; readonly channels: number } };
	try {
		const picture = sharp(bytes, { limitInputPixels: MAX_PICTURE_PIXELS, failOn: 'error', ignoreIcc: true }).autoOrient();
		// libvips would go from CMYK to RGB through a profile.
		if (space === 'cmyk') picture.pipelineColourspace('cmyk');
		decoded = await picture.toColourspace(space).raw({ depth }).toBuffer({ resolveWithObject: true });
	} catch (cause) {
		throw brokenPicture(cause, name, header.format, structure);
	}
	const { data, info } = decoded;
	const expected = width * height * info.channels * (depth === 'ushort' ? 2 : 1);
	const least = space === 'cmyk' ? 4 : 1;
	if (info.width !== width || info.height !== height || data.length !== expected || info.channels < least || info.channels > 4) {
		throw new FormatError(
			'E_FORMAT',
			`${quote(name)} says it is ${width}x${height} but decodes to ${info.width}x${info.height} with ${info.channels} channels; save it as a PNG.`,
		);
	}
	return { width, height, channels: info.channels, data: new Uint8Array(data.buffer, data.byteOffset, data.byteLength) };
}
