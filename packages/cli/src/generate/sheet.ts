import { FormatError } from '@lorakit/format';
import type { Rgb } from '@lorakit/runtime/node';
import { drawText } from './bitmap-font.js';

/** Between the pictures of a sheet, and around them. */
export const SHEET_GAP = 4;
const MAX_SHEET_SIDE = 16_384;
const BACKGROUND = 255;
const INK = [32, 32, 32] as const;

/** Of the letters beside pictures so wide. */
export function letterMagnification(pictureWidth: number): number {
	return Math.max(1, Math.min(4, Math.floor(pictureWidth / 128)));
}

/**
 * @param fewer what there may be fewer of
 * @throws {FormatError} `E_LIMIT` for a side over 16,384 pixels.
 */
export function checkSheetSize(sheet: string, width: number, height: number, fewer: string): void {
	if (width <= MAX_SHEET_SIDE && height <= MAX_SHEET_SIDE) return;
	throw new FormatError(
		'E_LIMIT',
		`${sheet} would be ${width}x${height} pixels; a side has at most ${MAX_SHEET_SIDE}: take fewer ${fewer} or smaller pictures.`,
	);
}

export function blankSheet(width: number, height: number): Rgb {
	return { width, height, data: new Uint8Array(3 * width * height).fill(BACKGROUND) };
}

export function writeOnSheet(sheet: Rgb, text: string, x: number, y: number, magnification: number): void {
	drawText(sheet, text, x, y, magnification, INK);
}

/** Put a picture on the sheet, its top left at x and y. @param picture (height, width, 3) */
export function putOnSheet(sheet: Rgb, x: number, y: number, picture: Uint8Array, width: number, height: number): void {
	for (let line = 0; line < height; line++) {
		sheet.data.set(picture.subarray(3 * line * width, 3 * (line + 1) * width), 3 * ((y + line) * sheet.width + x));
	}
}
