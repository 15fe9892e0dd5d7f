import { escapeControls } from '../errors.js';
import { figure, html, px, shorten } from './html-text.js';
import { linearTicks } from './scale.js';

/** One block of a bar chart. */
export interface BlockBar {
	readonly label: string;
	/** Norms, one a series; null where the series has nothing there. */
	readonly values: readonly (number | null)[];
	/** Shown in a second panel; null where it is not defined, undefined for a chart without one. */
	readonly cosine?: number | null | undefined;
}

export interface BlockChart {
	/** Says to those who do not see it what the picture is. */
	readonly title: string;
	readonly bars: readonly BlockBar[];
	/** Names of the series, for the texts of bars. */
	readonly series: readonly string[];
	/** The end of the axis: the same for charts that are compared by eye. */
	readonly max: number;
}

const LABELS = 112;
/** Width of the bars beside a cosine, and without one. */
const BARS = 190;
const WIDE_BARS = 330;
const VALUES = 42;
const GAP = 20;
const COSINE = 88;
const COSINE_VALUES = 40;
const TOP = 20;
const CLASSES: readonly string[] = ['a', 'b'];

/** Blocks in one chart; a longer model goes on in a second column. */
const MOST_BARS = 32;

/** The charts of one component as figures with a heading: one, or several that go on where the one before ends. */
export function blockFigures(heading: string, chart: BlockChart): string {
	const { bars } = chart;
	const parts = Math.max(1, Math.ceil(bars.length / MOST_BARS));
	const size = Math.ceil(bars.length / parts);
	return Array.from({ length: parts }, (_, n) => {
		const some = bars.slice(n * size, (n + 1) * size);
		const text = parts === 1 ? heading : `${heading}, blocks ${n * size + 1} to ${n * size + some.length} of ${bars.length}`;
		return `<figure><h3>${html(text)}</h3>${blockChart({ ...chart, bars: some })}</figure>`;
	}).join('');
}

/** Norm by block as bars from 0, in the order of the model, and beside it the cosine where there is one. An SVG element. */
export function blockChart({ title, bars, series, max }: BlockChart): string {
	const thick = series.length > 1 ? 10 : 11;
	const row = series.length * (thick + 1) + 7;
	const height = TOP + bars.length * row + 22;
	const withCosine = bars.some((b) => b.cosine !== undefined);
	const across = withCosine ? BARS : WIDE_BARS;
	const width = LABELS + across + VALUES + (withCosine ? GAP + COSINE + COSINE_VALUES : 0);
	const ticks = linearTicks(max).filter((tick) => tick <= max);
	const x = (value: number): number => LABELS + (max > 0 ? (value / max) * across : 0);
	const bottom = TOP + bars.length * row + 2;
	const out: string[] = [
		`<svg role="img" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}" aria-label="${html(title)}">`,
		`<text class="soft" x="${LABELS}" y="11">norm of the change</text>`,
	];
	for (const tick of ticks) {
		out.push(`<line class="grid" x1="${px(x(tick))}" x2="${px(x(tick))}" y1="${TOP - 3}" y2="${bottom}"/>`);
		out.push(`<text class="soft" x="${px(x(tick))}" y="${bottom + 13}" text-anchor="middle">${tickText(tick)}</text>`);
	}
	bars.forEach((bar, i) => {
		const top = TOP + i * row + 3;
		const middle = top + (row - 6) / 2 + 3;
		out.push(`<text x="${LABELS - 8}" y="${px(middle)}" text-anchor="end">${named(bar.label, 16)}</text>`);
		bar.values.forEach((value, s) => {
			if (value === null) return;
			const y = top + s * (thick + 1);
			const text = `${bar.label}, ${series[s] ?? ''}: ${figure(value)}`;
			out.push(
				`<rect class="${CLASSES[s] ?? 'a'}" x="${LABELS}" y="${px(y)}" width="${px(Math.max(value > 0 ? 0.75 : 0, x(value) - LABELS))}" height="${thick}"><title>${html(text)}</title></rect>`,
			);
			out.push(`<text class="soft" x="${px(x(value) + 4)}" y="${px(y + thick - 1)}">${figure(value)}</text>`);
		});
	});
	out.push(`<line class="axis" x1="${LABELS}" x2="${LABELS}" y1="${TOP - 3}" y2="${bottom}"/>`);
	if (withCosine) out.push(...cosinePanel(bars, row, bottom));
	out.push('</svg>');
	return out.join('');
}

function cosinePanel(bars: readonly BlockBar[], row: number, bottom: number): string[] {
	const left = LABELS + BARS + VALUES + GAP;
	const x = (value: number): number => left + ((value + 1) / 2) * COSINE;
	const out: string[] = [`<text class="soft" x="${px(x(0))}" y="11" text-anchor="middle">cosine</text>`];
	for (const tick of [-1, -0.5, 0, 0.5, 1]) {
		out.push(`<line class="${tick === 0 ? 'axis' : 'grid'}" x1="${px(x(tick))}" x2="${px(x(tick))}" y1="${TOP - 3}" y2="${bottom}"/>`);
		if (Number.isInteger(tick)) out.push(`<text class="soft" x="${px(x(tick))}" y="${bottom + 13}" text-anchor="middle">${tick}</text>`);
	}
	bars.forEach(({ label, cosine }, i) => {
		const middle = TOP + i * row + 3 + (row - 6) / 2;
		const text = cosine === null || cosine === undefined ? '–' : html(cosineText(cosine));
		if (cosine !== null && cosine !== undefined) {
			const [from, to] = [Math.min(x(0), x(cosine)), Math.max(x(0), x(cosine))];
			out.push(
				`<rect class="${cosine < 0 ? 'neg' : 'pos'}" x="${px(from)}" y="${px(middle - 4)}" width="${px(Math.max(0.75, to - from))}" height="8"><title>${html(label)}: cosine ${text}</title></rect>`,
			);
		}
		out.push(`<text class="soft" x="${left + COSINE + COSINE_VALUES}" y="${px(middle + 4)}" text-anchor="end">${text}</text>`);
	});
	return out;
}

/** A cosine that is not 1 is never written as 1. */
export function cosineText(cosine: number): string {
	const text = (Math.abs(cosine) < 5e-4 ? 0 : cosine).toFixed(3);
	return Math.abs(Number(text)) === 1 && Math.abs(cosine) < 1 ? (cosine < 0 ? '<-0.999' : '>0.999') : text;
}

function tickText(tick: number): string {
	return tick >= 1e5 || (tick > 0 && tick < 1e-3) ? tick.toExponential().replace('e+', 'e') : String(tick);
}

/** A label that may have been shortened, with its whole text as a title. */
function named(label: string, length: number): string {
	const short = shorten(escapeControls(label), length);
	return short === label ? html(label) : `${html(short)}<title>${html(label)}</title>`;
}
