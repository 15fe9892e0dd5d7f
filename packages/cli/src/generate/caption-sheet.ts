import type { Rgb } from '@lorakit/runtime/node';
import { FONT_HEIGHT } from './bitmap-font.js';
import { breakLines, LEADING } from './break-lines.js';
import { blankSheet, checkSheetSize, SHEET_GAP as GAP, letterMagnification, putOnSheet, writeOnSheet } from './sheet.js';

/** Where the pictures and captions of a sheet lie. */
export interface CaptionLayout {
	readonly width: number;
	readonly height: number;
	readonly magnification: number;
	readonly rows: readonly { readonly top: number; readonly lines: readonly (readonly string[])[]; readonly pictures: number }[];
	/** Left edge of a column. */
	left(column: number): number;
	readonly pictureWidth: number;
	readonly pictureHeight: number;
}

/**
 * Rows of pictures of one size, a caption over each, broken into lines as wide as the picture. A row longer than
 * `mostColumns` goes on in the next.
 * @throws {FormatError} `E_LIMIT` for a sheet with a side over 16,384 pixels.
 */
export function captionLayout(
	captions: readonly (readonly string[])[],
	pictureWidth: number,
	pictureHeight: number,
	mostColumns: number,
): CaptionLayout {
	const magnification = letterMagnification(pictureWidth);
	const broken = captions.flatMap((row) =>
		Array.from({ length: Math.ceil(row.length / mostColumns) }, (_, i) => row.slice(i * mostColumns, (i + 1) * mostColumns)),
	);
	const line = (FONT_HEIGHT + LEADING) * magnification;
	let y = GAP;
	const rows = broken.map((row) => {
		const lines = row.map((caption) => breakLines(caption, pictureWidth, magnification));
		const top = y;
		const pictures = top + Math.max(...lines.map((all) => all.length)) * line + LEADING;
		y = pictures + pictureHeight + GAP;
		return { top, lines, pictures };
	});
	const columns = Math.max(...broken.map((row) => row.length));
	const [width, height] = [GAP + columns * (pictureWidth + GAP), y];
	checkSheetSize('The sheet', width, height, 'edits or words,');
	return { width, height, magnification, rows, left: (column) => GAP + column * (pictureWidth + GAP), pictureWidth, pictureHeight };
}

/** The sheet with pictures (height, width, 3) in the order of the captions. */
export function drawCaptioned(layout: CaptionLayout, pictures: readonly Uint8Array[]): Rgb {
	const { width, height, magnification, rows, pictureWidth, pictureHeight } = layout;
	const sheet = blankSheet(width, height);
	const rest = [...pictures];
	for (const { top, lines, pictures: y } of rows) {
		for (const [column, caption] of lines.entries()) {
			const x = layout.left(column);
			for (const [n, text] of caption.entries()) {
				writeOnSheet(sheet, text, x, top + n * (FONT_HEIGHT + LEADING) * magnification, magnification);
			}
			const picture = rest.shift();
			if (picture === undefined) throw new TypeError('a caption without a picture');
			putOnSheet(sheet, x, y, picture, pictureWidth, pictureHeight);
		}
	}
	return sheet;
}
