import type { Rgb } from '@lorakit/runtime/node';
import { FONT_HEIGHT, textWidth } from './bitmap-font.js';
import { blankSheet, checkSheetSize, SHEET_GAP as GAP, letterMagnification, putOnSheet, writeOnSheet } from './sheet.js';

/** Where everything lies on a sheet of pictures of one size. */
export interface SheetLayout {
	readonly width: number;
	readonly height: number;
	readonly magnification: number;
	/** Top left of a cell. */
	cell(row: number, column: number): readonly [x: number, y: number];
	readonly rows: readonly string[];
	readonly columns: readonly string[];
	readonly pictureWidth: number;
	readonly pictureHeight: number;
}

/**
 * A sheet with the labels of columns on top and of rows at the left; columns are as wide as the wider of picture and label.
 * @throws {FormatError} `E_LIMIT` for a sheet with a side over 16,384 pixels.
 */
export function sheetLayout(rows: readonly string[], columns: readonly string[], pictureWidth: number, pictureHeight: number): SheetLayout {
	const magnification = letterMagnification(pictureWidth);
	const widest = (labels: readonly string[]): number => Math.max(0, ...labels.map((label) => textWidth(label, magnification)));
	const left = GAP + (widest(rows) > 0 ? widest(rows) + GAP : 0);
	const top = GAP + FONT_HEIGHT * magnification + GAP;
	const pitch = Math.max(pictureWidth, widest(columns)) + GAP;
	const rise = Math.max(pictureHeight, FONT_HEIGHT * magnification) + GAP;
	const [width, height] = [left + columns.length * pitch, top + rows.length * rise];
	checkSheetSize('The sheet of --grid', width, height, 'values');
	return {
		width,
		height,
		magnification,
		cell: (row, column) => [left + column * pitch, top + row * rise],
		rows,
		columns,
		pictureWidth,
		pictureHeight,
	};
}

/** The empty sheet with its labels. */
export function drawSheet(layout: SheetLayout): Rgb {
	const { width, height, magnification, rows, columns, pictureHeight } = layout;
	const sheet = blankSheet(width, height);
	for (const [column, label] of columns.entries()) writeOnSheet(sheet, label, layout.cell(0, column)[0], GAP, magnification);
	for (const [row, label] of rows.entries()) {
		const middle = layout.cell(row, 0)[1] + Math.floor((pictureHeight - FONT_HEIGHT * magnification) / 2);
		writeOnSheet(sheet, label, GAP, middle, magnification);
	}
	return sheet;
}

/** Put a picture into its cell. */
export function putPicture(sheet: Rgb, layout: SheetLayout, row: number, column: number, picture: Uint8Array): void {
	const [x, y] = layout.cell(row, column);
	putOnSheet(sheet, x, y, picture, layout.pictureWidth, layout.pictureHeight);
}
