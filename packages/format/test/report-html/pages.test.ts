import { describe, expect, it } from 'vitest';
import { inspect } from '../../src/inspect.js';
import { cosineText } from '../../src/report-html/block-chart.js';
import { diffHtml } from '../../src/report-html/diff-html.js';
import { figure, html, shorten } from '../../src/report-html/html-text.js';
import { inspectHtml } from '../../src/report-html/inspect-html.js';
import { decadesOf, linearTicks } from '../../src/report-html/scale.js';
import { diffAdapters } from '../../src/transforms/diff/diff-adapters.js';
import { adapterEnergy } from '../../src/transforms/diff/energy.js';
import { f32, moduleOf } from '../families/helpers.js';
import { KOHYA, memoryInput } from '../support/memory-file.js';
import { adapterOf } from '../support/small-adapter.js';

const EVIL = `<img src=x onerror=alert(1)>"'&\u202e</svg></title><script>`;

function evil(): ReturnType<typeof adapterOf> {
	const lora = (path: string, component = 'unet'): ReturnType<typeof moduleOf> =>
		moduleOf('lora', { up: f32([2, 2], [1, 0, 0, 0.5]), down: f32([2, 2], [1, 0, 0, 1]) }, { path, component, rank: 2 });
	return adapterOf(
		[
			lora('mid_block.a'),
			lora(EVIL),
			lora('x', EVIL),
			moduleOf('norm', { w_norm: f32([2], [0, 0]) }, { path: 'down_blocks.0.resnets.0.norm1' }),
		],
		{
			source: { layout: EVIL, container: 'safetensors', name: `/tmp/${EVIL}` },
			base: { family: 'sd1', label: EVIL, confidence: 1, evidence: [] },
			embeddings: [{ token: EVIL, slot: '', component: 'text_encoder', vectors: f32([2], [1, 2]) }],
		},
	);
}

/** No element of a page but those we write; every tag closed, in order. */
function tagsOf(page: string): string[] {
	const open: string[] = [];
	const seen = new Set<string>();
	for (const [, slash, name = '', rest = ''] of page.matchAll(/<(\/?)([a-z0-9]+)((?:[^>"]|"[^"]*")*)>/gi)) {
		seen.add(name);
		if (['meta', 'rect', 'line', 'circle', 'polyline'].includes(name) && (rest.endsWith('/') || name === 'meta')) continue;
		if (slash === '/') expect(open.pop()).toBe(name);
		else open.push(name);
	}
	expect(open).toEqual([]);
	return [...seen];
}

const OURS = new Set(
	'html head meta title style body main footer h1 h2 h3 p ul li b span dl div dt dd figure svg text line rect circle polyline table caption thead tbody tr th td details summary'.split(
		' ',
	),
);

describe('pages', () => {
	it('inspect: one page, nothing from outside, everything escaped', async () => {
		const page = inspectHtml(
			{ ...inspect(memoryInput(KOHYA)), triggerWords: [{ word: EVIL, source: 'x' }], warnings: [{ code: 'W_X', message: EVIL, at: null }] },
			await adapterEnergy(evil()),
		);
		expect(page).not.toContain('<img');
		expect(page).not.toContain('<script');
		expect(page).not.toContain('\u202e');
		// Attribute values are text; an attribute of a file's would stand outside them.
		expect(/<[^>]*\s(src|href|on\w+)=|url\(|@import/.test(page.replace(/"[^"]*"/g, '""'))).toBe(false);
		expect(page).toContain("default-src 'none'");
		for (const tag of tagsOf(page)) expect(OURS).toContain(tag);
	});

	it('diff: one page, nothing from outside, everything escaped', async () => {
		const page = diffHtml(await diffAdapters(evil(), adapterOf([])));
		for (const tag of tagsOf(page)) expect(OURS).toContain(tag);
		expect(page).not.toContain('<img');
		expect(page).not.toContain('\u202e');
		expect(page).toContain('only in the first');
	});

	it('shows every number of the pictures in a table', async () => {
		const page = diffHtml(await diffAdapters(evil(), evil()));
		expect(page.match(/<table>/g)?.length).toBe(3);
		expect(page).toContain('the same adapter: no difference');
		// Norm of (1, 0.5) on the diagonal.
		expect(page).toContain('<td>1.12</td>');
		expect(page.match(/role="img"/g)?.length).toBe(page.match(/aria-label="/g)?.length);
	});

	it('has charts also where all is zero or a block is not there', async () => {
		const zero = adapterOf([moduleOf('lora', { up: f32([2, 1], [0, 0]), down: f32([1, 2], [1, 1]) }, { path: 'mid_block.a', rank: 1 })]);
		const page = diffHtml(await diffAdapters(zero, zero));
		expect(page).not.toMatch(/NaN|Infinity|undefined/);
		expect(inspectHtml(inspect(memoryInput(KOHYA)), await adapterEnergy(zero))).not.toMatch(/NaN|Infinity|undefined/);
	});
});

describe('small parts', () => {
	it.each([
		[0, [0]],
		[1, [0, 0.25, 0.5, 0.75, 1]],
		[12.1, [0, 5, 10, 15]],
		[0.0035, [0, 0.001, 0.002, 0.003, 0.004]],
		[Number.POSITIVE_INFINITY, [0]],
	])('linearTicks(%f)', (max, ticks) => {
		expect(linearTicks(max)).toEqual(ticks);
	});

	it.each([
		[[], undefined],
		[[0], undefined],
		[[1], [-1, 0]],
		[
			[0.02, 3, 0],
			[-2, 1],
		],
		[
			[1e-30, 1],
			[-6, 0],
		],
	])('decadesOf(%j)', (values, decades) => {
		expect(decadesOf(values, 6)).toEqual(decades);
	});

	it.each([
		[0, '0'],
		[11, '11.0'],
		[133.4, '133'],
		[0.0123456, '0.0123'],
		[1.2345e-7, '1.23e-7'],
		[1234567, '1.23e6'],
	])('figure(%f)', (value, text) => {
		expect(figure(value)).toBe(text);
	});

	it.each([
		[1, '1.000'],
		[0.99999, '>0.999'],
		[-0.99999, '<-0.999'],
		[-0.0001, '0.000'],
		[0.5, '0.500'],
	])('cosineText(%f)', (value, text) => {
		expect(cosineText(value)).toBe(text);
	});

	it('escapes and shortens', () => {
		expect(html(`<a href="x" title='y'>&\u200b`)).toBe('&lt;a href=&quot;x&quot; title=&#39;y&#39;&gt;&amp;\\u200b');
		expect(shorten('abcdefghij', 5)).toBe('ab…ij');
		expect(shorten('abc', 5)).toBe('abc');
	});
});
