import type { Rgb } from '@lorakit/runtime/node';
import { FONT_HEIGHT, textWidth } from './bitmap-font.js';
import { breakLines, LEADING } from './break-lines.js';
import { blankSheet, checkSheetSize, SHEET_GAP as GAP, letterMagnification, putOnSheet, writeOnSheet } from './sheet.js';

/** Letters of a label that stay on one line; longer ones (prompts) are broken. */
const LINE_LETTERS = 32;

/** Where everything lies on a sheet of pictures of one size. */
export interface SheetLayout {
	readonly width: number;
	readonly height: number;
	readonly magnification: number;
	/** Top left of a cell. */
	cell(row: number, column: number): readonly [x: number, y: number];
	/** Labels, line by line. */
	readonly rows: readonly (readonly string[])[];
	readonly columns: readonly (readonly string[])[];
	readonly pictureWidth: number;
	readonly pictureHeight: number;
}

/**
 * A sheet with the labels of columns on top and of rows at the left; columns are as wide as the wider of picture and label.
 * Long labels are broken into lines.
 * @throws {FormatError} `E_LIMIT` for a sheet with a side over 16,384 pixels.
 */
export function sheetLayout(rows: readonly string[], columns: readonly string[], pictureWidth: number, pictureHeight: number): SheetLayout {
	const magnification = letterMagnification(pictureWidth);
	const most = Math.max(pictureWidth, textWidth('m'.repeat(LINE_LETTERS), magnification));
	const broken = (labels: readonly string[]): readonly (readonly string[])[] =>
		labels.map((label) => (label.length <= LINE_LETTERS ? [label] : breakLines(label, most, magnification)));
	const [rowLines, columnLines] = [broken(rows), broken(columns)];
	const widest = (labels: readonly (readonly string[])[]): number =>
		Math.max(0, ...labels.flat().map((line) => textWidth(line, magnification)));
	const highest = (labels: readonly (readonly string[])[]): number => Math.max(...labels.map((lines) => textHeight(lines, magnification)));
	const left = GAP + (widest(rowLines) > 0 ? widest(rowLines) + GAP : 0);
	const top = GAP + highest(columnLines) + GAP;
	const pitch = Math.max(pictureWidth, widest(columnLines)) + GAP;
	const rise = Math.max(pictureHeight, highest(rowLines)) + GAP;
	const [width, height] = [left + columns.length * pitch, top + rows.length * rise];
	checkSheetSize('The sheet of --grid', width, height, 'values');
	return {
		width,
		height,
		magnification,
		cell: (row, column) => [left + column * pitch, top + row * rise],
		rows: rowLines,
		columns: columnLines,
		pictureWidth,
		pictureHeight,
	};
}

/** The empty sheet with its labels. */
export function drawSheet(layout: SheetLayout): Rgb {
	const { width, height, magnification, rows, columns, pictureHeight } = layout;
	const sheet = blankSheet(width, height);
	const write = (lines: readonly string[], x: number, y: number): void => {
		for (const [n, line] of lines.entries()) writeOnSheet(sheet, line, x, y + n * (FONT_HEIGHT + LEADING) * magnification, magnification);
	};
	for (const [column, lines] of columns.entries()) write(lines, layout.cell(0, column)[0], GAP);
	for (const [row, lines] of rows.entries()) {
		const middle = Math.floor((pictureHeight - textHeight(lines, magnification)) / 2);
		write(lines, GAP, layout.cell(row, 0)[1] + Math.max(0, middle));
	}
	return sheet;
}

function textHeight(lines: readonly string[], magnification: number): number {
	return (lines.length * (FONT_HEIGHT + LEADING) - LEADING) * magnification;
}

/** Put a picture into its cell. */
export function putPicture(sheet: Rgb, layout: SheetLayout, row: number, column: number, picture: Uint8Array): void {
	const [x, y] = layout.cell(row, column);
	putOnSheet(sheet, x, y, picture, layout.pictureWidth, layout.pictureHeight);
}
