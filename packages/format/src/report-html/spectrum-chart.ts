import { escapeControls } from '../errors.js';
import { html, px, shorten } from './html-text.js';

/** The singular values of one module in one adapter. */
export interface SpectrumLine {
	/** Which adapter: 0 or 1. */
	readonly series: number;
	/** Descending. */
	readonly values: ArrayLike<number>;
	readonly name: string;
}

/** Axes that all charts of a page share, so that they can be compared by eye. */
export interface SpectrumAxes {
	/** Exponents of ten. */
	readonly decades: readonly [number, number];
	/** Largest index. */
	readonly count: number;
}

const WIDTH = 168;
const HEIGHT = 124;
const LEFT = 34;
const RIGHT = 8;
const TOP = 27;
const BOTTOM = 20;
/** Points drawn of one line; more are not seen at this size. */
const MAX_POINTS = 40;
const CLASSES: readonly string[] = ['la', 'lb'];
const DOTS: readonly string[] = ['a', 'b'];

/** Singular values of one block: a line for each module, index against value, the values on a log scale. An SVG element. */
export function spectrumChart(title: string, lines: readonly SpectrumLine[], { decades, count }: SpectrumAxes): string {
	const [low, high] = decades;
	const x = (i: number): number => LEFT + (count > 1 ? (i / (count - 1)) * (WIDTH - LEFT - RIGHT) : (WIDTH - LEFT - RIGHT) / 2);
	const y = (v: number): number => TOP + ((high - Math.log10(v)) / (high - low)) * (HEIGHT - TOP - BOTTOM);
	const floor = 10 ** low;
	const out: string[] = [
		`<svg role="img" width="${WIDTH}" height="${HEIGHT}" viewBox="0 0 ${WIDTH} ${HEIGHT}" aria-label="${html(`Singular values of ${title}, ${lines.length} lines`)}">`,
		`<text class="name" x="${LEFT - 30}" y="12">${html(shorten(escapeControls(title), 22))}</text>`,
	];
	const every = Math.ceil((high - low) / 4);
	for (let e = high; e >= low; e--) {
		const at = y(10 ** e);
		out.push(`<line class="grid" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${px(at)}" y2="${px(at)}"/>`);
		if ((high - e) % every === 0) out.push(`<text class="soft" x="${LEFT - 4}" y="${px(at + 3.5)}" text-anchor="end">${decade(e)}</text>`);
	}
	out.push(`<line class="axis" x1="${LEFT}" x2="${WIDTH - RIGHT}" y1="${HEIGHT - BOTTOM}" y2="${HEIGHT - BOTTOM}"/>`);
	out.push(`<text class="soft" x="${px(x(0))}" y="${HEIGHT - 7}" text-anchor="${count > 1 ? 'start' : 'middle'}">1</text>`);
	if (count > 1) out.push(`<text class="soft" x="${WIDTH - RIGHT}" y="${HEIGHT - 7}" text-anchor="end">${count}</text>`);
	let drawn = 0;
	// The second adapter's lines on top, dashed: where both agree, both are seen.
	for (const { series, values, name } of [...lines].sort((a, b) => a.series - b.series)) {
		const points: string[] = [];
		for (const i of indicesOf(values.length)) {
			const v = values[i] ?? 0;
			if (v >= floor) points.push(`${px(x(i))},${px(y(v))}`);
		}
		if (points.length > 0) drawn++;
		const title2 = `<title>${html(name)}</title>`;
		if (points.length === 1) {
			const [cx = '0', cy = '0'] = (points[0] ?? '').split(',');
			out.push(`<circle class="${DOTS[series] ?? 'a'}" cx="${cx}" cy="${cy}" r="2">${title2}</circle>`);
		} else if (points.length > 1)
			out.push(`<polyline class="${CLASSES[series] ?? 'la'}" points="${points.join(' ')}">${title2}</polyline>`);
	}
	if (drawn === 0)
		out.push(
			`<text class="soft" x="${(LEFT + WIDTH - RIGHT) / 2}" y="${(TOP + HEIGHT - BOTTOM) / 2 + 4}" text-anchor="middle">all zero</text>`,
		);
	out.push('</svg>');
	return out.join('');
}

/** At most `MAX_POINTS` indices of a list, evenly, with both ends. */
function indicesOf(length: number): readonly number[] {
	if (length <= MAX_POINTS) return Array.from({ length }, (_, i) => i);
	return Array.from({ length: MAX_POINTS }, (_, i) => Math.round((i * (length - 1)) / (MAX_POINTS - 1)));
}

function decade(e: number): string {
	if (e >= -3 && e <= 4) return String(Number((10 ** e).toPrecision(1)));
	return `1e${e}`;
}
