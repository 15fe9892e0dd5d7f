import fs from 'node:fs';
import { figure } from './measure.js';
import type { ImageMeasure } from './verdict.js';

type PictureMeasure = Pick<ImageMeasure, 'meanGrey' | 'maxGrey' | 'psnr' | 'ssim' | 'pictures'>;

const NONE: PictureMeasure = { meanGrey: null, maxGrey: null, psnr: null, ssim: null, pictures: null };

/** Red, green, blue, alpha, 8 bits each. */
export interface Picture {
	readonly width: number;
	readonly height: number;
	readonly data: Uint8ClampedArray;
}

/** A subject's picture is no larger than this. */
const MAX_PNG_BYTES = 32 << 20;
const MAX_SIDE = 8192;

/** Mean and largest difference of a channel in grey levels, PSNR in dB, SSIM; all null when one cannot be read. */
export async function comparePictures(expected: string, got: string): Promise<PictureMeasure> {
	const a = await readPicture(expected);
	const b = await readPicture(got);
	if (a === undefined || b === undefined || a.width !== b.width || a.height !== b.height) return NONE;
	let [sum, squares, max, count] = [0, 0, 0, 0];
	for (let i = 0; i < a.data.length; i++) {
		if (i % 4 === 3) continue;
		const off = Math.abs((a.data[i] ?? 0) - (b.data[i] ?? 0));
		[sum, squares, max, count] = [sum + off, squares + off * off, Math.max(max, off), count + 1];
	}
	const { ssim } = await import('ssim.js');
	// The window is 11 pixels; smaller pictures have no SSIM.
	const index = Math.min(a.width, a.height) < 11 ? Number.NaN : ssim(a, b, { ssim: 'weber' }).mssim;
	return {
		meanGrey: figure(sum / count),
		maxGrey: max,
		psnr: squares === 0 ? null : figure(10 * Math.log10((255 * 255 * count) / squares)),
		ssim: figure(index),
		pictures: max <= 1 ? null : await encodePictures(a, b),
	};
}

/** Differences are shown this much larger. */
export const AMPLIFIED = 8;
/** Larger pictures are not put into reports. */
const MAX_SHOWN_PIXELS = 512 * 512;

async function encodePictures(a: Picture, b: Picture): Promise<PictureMeasure['pictures']> {
	if (a.width * a.height > MAX_SHOWN_PIXELS) return null;
	const { PNG } = await import('pngjs');
	const { width, height } = a;
	const off = a.data.map((x, i) => (i % 4 === 3 ? 255 : AMPLIFIED * Math.abs(x - (b.data[i] ?? 0))));
	const encode = (data: Uint8ClampedArray): string => {
		const png = new PNG({ width, height });
		png.data = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
		return PNG.sync.write(png).toString('base64');
	};
	return { reference: encode(a.data), candidate: encode(b.data), difference: encode(off) };
}

/** Undefined when it is missing, too large or no PNG. */
export async function readPicture(file: string): Promise<Picture | undefined> {
	const { PNG } = await import('pngjs');
	try {
		const stat = fs.lstatSync(file);
		if (!stat.isFile() || stat.size > MAX_PNG_BYTES) return undefined;
		const bytes = fs.readFileSync(file);
		// IHDR comes first: size is known before anything is inflated.
		if (bytes.byteLength < 24 || bytes.readUInt32BE(16) > MAX_SIDE || bytes.readUInt32BE(20) > MAX_SIDE) return undefined;
		const { width, height, data } = PNG.sync.read(bytes);
		return { width, height, data: new Uint8ClampedArray(data.buffer, data.byteOffset, data.byteLength) };
	} catch {
		return undefined;
	}
}
