import { html } from './html-text.js';
import { PAGE_STYLE } from './page-style.js';

/** One complete page. `body` is markup; the title is text. Nothing is loaded and no script can run: the policy forbids both. */
export function page(title: string, body: readonly string[]): string {
	return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'">
<meta name="viewport" content="width=device-width,initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>${html(title)}</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
${body.join('\n')}
<footer>Written by lorakit. All numbers are in float64 from the stored values; scaling (alpha) is included, strength is 1.</footer>
</main>
</body>
</html>
`;
}

/** A list of short facts; values are text. Those that are undefined are left out. */
export function facts(rows: readonly (readonly [string, string | undefined])[]): string {
	const items = rows.flatMap(([name, value]) => (value === undefined ? [] : [`<div><dt>${html(name)}</dt><dd>${html(value)}</dd></div>`]));
	return `<dl class="facts">${items.join('')}</dl>`;
}

/** A column of a table. */
export interface Column {
	readonly title: string;
	/** Left-aligned text instead of a number. */
	readonly text?: true | undefined;
}

/** Rows of one group under a heading of its own; cells are text. The first cell is the row's heading. */
export interface RowGroup {
	readonly heading: string | undefined;
	readonly rows: readonly (readonly string[])[];
}

/** A table with a caption. All cells are text. */
export function table(caption: string, columns: readonly Column[], groups: readonly RowGroup[]): string {
	const head = columns.map((c, i) => `<th scope="col"${i === 0 || c.text === true ? ' class="t"' : ''}>${html(c.title)}</th>`).join('');
	const body = groups.map(({ heading, rows }) => {
		const title =
			heading === undefined ? '' : `<tr class="head"><th scope="rowgroup" class="t" colspan="${columns.length}">${html(heading)}</th></tr>`;
		return `<tbody>${title}${rows.map((row) => tableRow(row, columns)).join('')}</tbody>`;
	});
	return `<div class="scroll"><table><caption>${html(caption)}</caption><thead><tr>${head}</tr></thead>${body.join('')}</table></div>`;
}

function tableRow(cells: readonly string[], columns: readonly Column[]): string {
	const out = cells.map((cell, i) =>
		i === 0 ? `<th scope="row">${html(cell)}</th>` : `<td${columns[i]?.text === true ? ' class="t"' : ''}>${html(cell)}</td>`,
	);
	return `<tr>${out.join('')}</tr>`;
}

/** Component names as people say them. */
export function componentTitle(component: string): string {
	return TITLES.get(component) ?? component;
}

const TITLES: ReadonlyMap<string, string> = new Map([
	['unet', 'UNet'],
	['transformer', 'Transformer'],
	['transformer_2', 'Transformer 2'],
	['text_encoder', 'Text encoder'],
	['text_encoder_2', 'Text encoder 2'],
	['text_encoder_3', 'Text encoder 3'],
]);
