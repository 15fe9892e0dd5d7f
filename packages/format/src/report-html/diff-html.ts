import type { DiffModule, DiffModuleSide, DiffReport, DiffSummary } from '../transforms/diff/diff-adapters-types.js';
import { blockFigures, cosineText } from './block-chart.js';
import { figure, html } from './html-text.js';
import { byComponent, medianText, nameOf, notes, rangeText } from './inspect-html.js';
import { type Column, componentTitle, facts, page, table } from './page.js';
import { spectraSection } from './spectra-section.js';
import type { SpectrumLine } from './spectrum-chart.js';

/**
 * One self-contained page about two adapters: norms of both and their cosine by block, singular values of both, and the
 * numbers of all of it as tables. Needs no network and no script; every string of a file is escaped.
 */
export function diffHtml(report: DiffReport): string {
	const { a, b, total } = report;
	const components = byComponent(report.blocks);
	const inBlock = new Map<string, DiffModule[]>();
	for (const m of report.modules) {
		const key = `${m.component}\u0000${m.block}`;
		const list = inBlock.get(key);
		if (list === undefined) inBlock.set(key, [m]);
		else list.push(m);
	}
	const modulesOf = (block: { readonly component: string; readonly block: string }): readonly DiffModule[] =>
		inBlock.get(`${block.component}\u0000${block.block}`) ?? [];
	const max = report.blocks.reduce((most, block) => Math.max(most, block.normA, block.normB), 0);
	const charts = components.map(([component, blocks]) => {
		return blockFigures(componentTitle(component), {
			title: `${componentTitle(component)}: norms of A and B by block and their cosine; the numbers are in the table below`,
			bars: blocks.map((block) => ({
				label: block.block,
				values: [block.both + block.onlyA > 0 ? block.normA : null, block.both + block.onlyB > 0 ? block.normB : null],
				cosine: block.cosine,
			})),
			series: ['A', 'B'],
			max,
		});
	});
	const title = `${nameOf(a.name)} and ${nameOf(b.name)}`;
	const body = [
		`<h1>${html(title)}</h1>`,
		`<ul class="legend"><li><span class="key a"></span><b>A</b> ${html(sideText(a))}</li><li><span class="key b"></span><b>B</b> ${html(sideText(b))}</li></ul>`,
		`<p class="verdict">${html(report.verdict)}</p>`,
		facts([
			['Modules in both', String(total.both)],
			['Only in A', String(total.onlyA)],
			['Only in B', String(total.onlyB)],
			['Norm of A', figure(total.normA)],
			['Norm of B', figure(total.normB)],
			['Cosine', total.cosine === null ? '–' : cosineText(total.cosine)],
			['Relative difference', figure(total.difference)],
		]),
		...notes(report.warnings.map(({ code, message }) => `${code}: ${message}`)),
		'<h2>Energy and cosine by block</h2>',
		'<p class="soft">Left: Frobenius norm of what each adapter adds to the weights of a block; all charts have one scale. Right: cosine between the two, 1 the same direction, 0 nothing in common, -1 opposite.</p>',
		`<div class="panels">${charts.join('')}</div>`,
		...spectraSection(
			components.map(([component, blocks]) => ({
				component,
				blocks: blocks.map((block) => ({ label: block.block, lines: modulesOf(block).flatMap(linesOf) })),
			})),
			' A is solid, B dashed.',
		),
		'<h2>Numbers</h2>',
		table('By block', COLUMNS, [
			...components.map(([component, blocks]) => ({
				heading: componentTitle(component),
				rows: blocks.map((block) => [block.block, ...summaryRow(block, modulesOf(block))]),
			})),
			{ heading: 'Everything', rows: [['all blocks', ...summaryRow(total, report.modules)]] },
		]),
		...embeddingTable(report),
		`<details><summary>Every module</summary>${moduleTable(report)}</details>`,
	];
	return page(title, body);
}

const COLUMNS: readonly Column[] = [
	{ title: 'Block' },
	{ title: 'In both' },
	{ title: 'Only A' },
	{ title: 'Only B' },
	{ title: 'Rank A' },
	{ title: 'Rank B' },
	{ title: 'Norm A' },
	{ title: 'Norm B' },
	{ title: 'Stable rank A' },
	{ title: 'Stable rank B' },
	{ title: 'Cosine' },
	{ title: 'Difference' },
];

function summaryRow(s: DiffSummary, modules: readonly DiffModule[]): readonly string[] {
	return [
		String(s.both),
		String(s.onlyA),
		String(s.onlyB),
		rangeText(modules.map((m) => m.a?.rank ?? null)),
		rangeText(modules.map((m) => m.b?.rank ?? null)),
		figure(s.normA),
		figure(s.normB),
		medianText(modules.map((m) => m.a?.stableRank ?? null)),
		medianText(modules.map((m) => m.b?.stableRank ?? null)),
		s.cosine === null ? '–' : cosineText(s.cosine),
		figure(s.difference),
	];
}

function sideText({ name, layout, base, modules, embeddings }: DiffReport['a']): string {
	const words = embeddings > 0 ? `, ${embeddings} embedding${embeddings === 1 ? '' : 's'}` : '';
	return `${name}: ${base}, ${layout}, ${modules} modules${words}`;
}

function linesOf(m: DiffModule): SpectrumLine[] {
	const out: SpectrumLine[] = [];
	[m.a, m.b].forEach((side, series) => {
		if (side !== null && side.values !== null) out.push({ series, values: side.values, name: `${series === 0 ? 'A' : 'B'}: ${m.path}` });
	});
	return out;
}

function embeddingTable({ embeddings }: DiffReport): readonly string[] {
	if (embeddings.length === 0) return [];
	const rows = embeddings.map((e) => [
		e.token,
		e.component,
		e.in === 'both' ? 'both' : e.in === 'a' ? 'only A' : 'only B',
		e.in === 'both' ? (e.difference === null ? 'other size' : figure(e.difference)) : '–',
	]);
	return [
		table(
			'Embeddings',
			[{ title: 'Token' }, { title: 'Text encoder', text: true }, { title: 'In', text: true }, { title: 'Difference' }],
			[{ heading: undefined, rows }],
		),
	];
}

function moduleTable(report: DiffReport): string {
	const cell = (side: DiffModuleSide | null): readonly string[] =>
		side === null ? ['–', '–', '–'] : [side.family, side.rank === null ? '–' : String(side.rank), figure(side.norm)];
	const groups = byComponent(report.modules).map(([component, modules]) => ({
		heading: componentTitle(component),
		rows: modules.map((m) => [
			m.path,
			...cell(m.a),
			...cell(m.b),
			m.cosine === null ? '–' : cosineText(m.cosine),
			m.difference === null ? '–' : figure(m.difference),
			m.measure === 'factors' ? 'factors alone' : '',
		]),
	}));
	return table(
		'By module. Difference: |A - B| / the larger norm.',
		[
			{ title: 'Module' },
			{ title: 'Kind A', text: true },
			{ title: 'Rank A' },
			{ title: 'Norm A' },
			{ title: 'Kind B', text: true },
			{ title: 'Rank B' },
			{ title: 'Norm B' },
			{ title: 'Cosine' },
			{ title: 'Difference' },
			{ title: '', text: true },
		],
		groups,
	);
}
