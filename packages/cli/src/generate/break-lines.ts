import { textWidth } from './bitmap-font.js';

/** Between the lines of a text. */
export const LEADING = 2;
/** Letters of a text on a sheet. */
const MAX_LETTERS = 400;

/** At spaces where it can be, inside words where one is longer than a line; what is too long ends in dots. */
export function breakLines(text: string, width: number, magnification: number): readonly string[] {
	let most = 1;
	while (textWidth('m'.repeat(most + 1), magnification) <= width) most++;
	const letters = [...text.slice(0, 2 * MAX_LETTERS)];
	const shown = letters.length <= MAX_LETTERS ? letters.join('') : `${letters.slice(0, MAX_LETTERS - 3).join('')}...`;
	const lines: string[] = [];
	let line: string[] = [];
	for (const word of shown.split(/\s+/u).map((w) => [...w])) {
		if (line.length > 0 && line.length + 1 + word.length <= most) {
			line.push(' ', ...word);
			continue;
		}
		if (line.length > 0) lines.push(line.join(''));
		let from = 0;
		for (; word.length - from > most; from += most) lines.push(word.slice(from, from + most).join(''));
		line = word.slice(from);
	}
	return [...lines, line.join('')];
}
