import { escapeControls } from '../errors.js';

/** Text of a file, safe inside elements and quoted attributes of HTML and SVG. Control, bidi and zero-width characters become `\uXXXX`. */
export function html(text: string): string {
	return escapeControls(text).replace(/[&<>"']/g, (c) => ENTITIES.get(c) ?? '');
}

const ENTITIES: ReadonlyMap<string, string> = new Map([
	['&', '&amp;'],
	['<', '&lt;'],
	['>', '&gt;'],
	['"', '&quot;'],
	["'", '&#39;'],
]);

/** At most `length` characters, cut in the middle, where paths differ least. */
export function shorten(text: string, length: number): string {
	const chars = Array.from(text);
	if (chars.length <= length) return text;
	const tail = Math.floor((length - 1) / 2);
	return `${chars.slice(0, length - 1 - tail).join('')}…${chars.slice(chars.length - tail).join('')}`;
}

/** Three significant digits for people: `0.0123`, `11.0`, `1.23e-5`, `0`. */
export function figure(value: number): string {
	if (value === 0) return '0';
	const size = Math.abs(value);
	if (size >= 1e5 || size < 1e-3) return value.toExponential(2).replace('e+', 'e');
	return size >= 100 ? value.toFixed(0) : value.toPrecision(3);
}

/** A length in a drawing: two decimals are finer than any screen. */
export function px(value: number): string {
	return Number(value.toFixed(2)).toString();
}
