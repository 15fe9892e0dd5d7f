import { html } from './html-text.js';
import { componentTitle } from './page.js';
import { decadesOf } from './scale.js';
import { type SpectrumLine, spectrumChart } from './spectrum-chart.js';

/** Blocks of one component with the lines to draw. */
export interface SpectraGroup {
	readonly component: string;
	readonly blocks: readonly { readonly label: string; readonly lines: readonly SpectrumLine[] }[];
}

/** Decades shown below the largest singular value; what is smaller has no effect worth seeing. */
const MOST_DECADES = 6;
/** Charts drawn; a model with more blocks than this is read in the table. */
const MOST_CHARTS = 240;

/**
 * Small multiples of singular values, one a block, all with the same axes; nothing where there are none.
 * @param legend a sentence about the kinds of lines, as text
 */
export function spectraSection(groups: readonly SpectraGroup[], legend = ''): readonly string[] {
	const all = groups.flatMap((g) => g.blocks.flatMap((b) => b.lines));
	let count = 0;
	for (const { values } of all) if (values.length > count) count = values.length;
	const decades = decadesOf(valuesOf(all), MOST_DECADES);
	if (decades === undefined) return [];
	const [, high] = decades;
	let left = MOST_CHARTS;
	let passed = 0;
	const out = [
		'<h2>Singular values</h2>',
		`<p class="soft">One line a module: index (from 1) against singular value, on a log scale.${html(legend)} All charts have the same axes. A steep fall means that a lower rank would do. Values below 1e${high - MOST_DECADES} are not drawn.</p>`,
	];
	for (const { component, blocks } of groups) {
		const drawn = blocks.filter((b) => b.lines.length > 0);
		if (drawn.length === 0) continue;
		const charts = drawn.slice(0, left).map((b) => spectrumChart(b.label, b.lines, { decades, count }));
		passed += drawn.length - charts.length;
		left -= charts.length;
		if (charts.length > 0) out.push(`<h3>${html(componentTitle(component))}</h3><div class="multiples">${charts.join('')}</div>`);
	}
	if (passed > 0) out.push(`<p class="soft">${passed} more blocks are not drawn; their numbers are in the table.</p>`);
	return out;
}

/** The values that decide the axis: the largest and the smallest that is not rounding of each line. */
function* valuesOf(lines: readonly SpectrumLine[]): Generator<number> {
	for (const { values } of lines) {
		const first = values[0] ?? 0;
		yield first;
		for (let i = values.length - 1; i > 0; i--) {
			const v = values[i] ?? 0;
			if (v <= first * 1e-12) continue;
			yield v;
			break;
		}
	}
}
