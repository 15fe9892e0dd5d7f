import type { InspectReport } from '../inspect-types.js';
import type { AdapterEnergy, BlockEnergy, ModuleEnergy } from '../transforms/diff/energy.js';
import { blockFigures } from './block-chart.js';
import { figure, html } from './html-text.js';
import { componentTitle, facts, page, type RowGroup, table } from './page.js';
import { decadesOf } from './scale.js';
import { spectraSection } from './spectra-section.js';

/**
 * One self-contained page about one adapter: what it is, energy by block, singular values by block, ranks, and the
 * numbers of all of it as tables. Needs no network and no script; every string of a file is escaped.
 */
export function inspectHtml(report: InspectReport, energy: AdapterEnergy): string {
	const components = byComponent(energy.blocks);
	const max = Math.max(0, ...energy.blocks.map((b) => b.norm));
	const charts = components.map(([component, blocks]) => {
		return blockFigures(componentTitle(component), {
			title: `${componentTitle(component)}: norm of the change by block; the numbers are in the table below`,
			bars: blocks.map((b) => ({ label: b.label, values: [blind(b) ? null : b.norm] })),
			series: ['norm'],
			max,
		});
	});
	const body = [
		`<h1>${html(nameOf(report.file.name))}</h1>`,
		`<p class="soft">${html(report.base?.label ?? 'unknown base')} · ${html(report.layout?.layout ?? 'unknown layout')}</p>`,
		facts(factRows(report, energy)),
		...notes([...report.errors, ...report.warnings, ...energy.warnings].map(({ code, message }) => `${code}: ${message}`)),
		'<h2>Energy by block</h2>',
		'<p class="soft">Frobenius norm of what the adapter adds to the weights of each block. All charts have one scale. Norms add as squares.</p>',
		`<div class="panels">${charts.join('')}</div>`,
		...spectraSection(
			components.map(([component, blocks]) => ({
				component,
				blocks: blocks.map((b) => ({
					label: b.label,
					lines: b.modules.flatMap((m) => (m.values === null ? [] : [{ series: 0, values: m.values, name: m.path }])),
				})),
			})),
		),
		'<h2>Numbers</h2>',
		table(
			'By block. Share: of the energy (squared norm). Stable rank: squared norm / square of the largest singular value. Effective rank: exp of the entropy of the energy. Both are medians over modules.',
			[
				{ title: 'Block' },
				{ title: 'Modules' },
				{ title: 'Rank' },
				{ title: 'Norm' },
				{ title: 'Share' },
				{ title: 'Stable rank' },
				{ title: 'Effective rank' },
			],
			components.map(([component, blocks]) => ({ heading: componentTitle(component), rows: blocks.map((b) => blockRow(b, energy.norm)) })),
		),
		moduleTable(components),
	];
	return page(nameOf(report.file.name), body);
}

/** Blocks in order, by component in order. */
export function byComponent<T extends { readonly component: string }>(blocks: readonly T[]): readonly (readonly [string, readonly T[]])[] {
	const out = new Map<string, T[]>();
	for (const block of blocks) {
		const list = out.get(block.component);
		if (list === undefined) out.set(block.component, [block]);
		else list.push(block);
	}
	return [...out];
}

/** The last part of a path or address: what a person calls the file. */
export function nameOf(name: string): string {
	return name.slice(Math.max(name.lastIndexOf('/'), name.lastIndexOf('\\')) + 1) || name;
}

/** A list of remarks, or nothing. */
export function notes(lines: readonly string[]): readonly string[] {
	if (lines.length === 0) return [];
	const shown = lines.slice(0, 20).map((line) => `<li>${html(line)}</li>`);
	const more = lines.length > 20 ? `<li>and ${lines.length - 20} more</li>` : '';
	return [`<h2>Remarks</h2><ul class="notes">${shown.join('')}${more}</ul>`];
}

/** `8`, or `4 to 32`. */
export function rangeText(values: readonly (number | null)[]): string {
	const numbers = values.filter((v) => v !== null);
	if (numbers.length === 0) return '–';
	let [min, max] = [numbers[0] ?? 0, numbers[0] ?? 0];
	for (const v of numbers) {
		if (v < min) min = v;
		if (v > max) max = v;
	}
	return min === max ? String(min) : `${min} to ${max}`;
}

/** Middle value; `–` for none. */
export function medianText(values: readonly (number | null)[]): string {
	const sorted = values.filter((v) => v !== null).sort((a, b) => a - b);
	if (sorted.length === 0) return '–';
	const half = Math.floor(sorted.length / 2);
	const middle = sorted.length % 2 === 1 ? (sorted[half] ?? 0) : ((sorted[half - 1] ?? 0) + (sorted[half] ?? 0)) / 2;
	return middle === 0 ? '0' : middle.toFixed(1);
}

/** Nothing of the block can be judged without the base. */
function blind(block: BlockEnergy): boolean {
	return block.modules.every((m) => m.measure === 'factors');
}

function factRows(report: InspectReport, energy: AdapterEnergy): readonly (readonly [string, string | undefined])[] {
	const modules = energy.blocks.flatMap((b) => b.modules);
	const families = [...new Set(modules.map((m) => m.family))];
	const spectra = decadesOf(
		modules.map((m) => m.values?.[0] ?? 0),
		30,
	);
	return [
		['Modules', String(modules.length)],
		['Kinds', families.join(', ') || undefined],
		['Rank', rangeText(modules.map((m) => m.rank))],
		['Norm of everything', figure(energy.norm)],
		[
			'Largest singular value',
			spectra === undefined ? undefined : figure(modules.reduce((max, m) => Math.max(max, m.values?.[0] ?? 0), 0)),
		],
		['Median stable rank', medianText(modules.map((m) => m.stableRank))],
		[
			'Trigger words',
			report.triggerWords
				.map((w) => w.word)
				.slice(0, 12)
				.join(', ') || undefined,
		],
		[
			'Embeddings',
			report.embeddings
				.map((e) => e.token)
				.slice(0, 12)
				.join(', ') || undefined,
		],
	];
}

function blockRow(block: BlockEnergy, total: number): readonly string[] {
	const { modules, norm } = block;
	return [
		block.label,
		String(modules.length),
		rangeText(modules.map((m) => m.rank)),
		blind(block) ? 'needs the base' : figure(norm),
		total > 0 && !blind(block) ? `${((100 * norm ** 2) / total ** 2).toFixed(1)} %` : '–',
		medianText(modules.map((m) => m.stableRank)),
		medianText(modules.map((m) => m.effectiveRank)),
	];
}

function moduleTable(components: readonly (readonly [string, readonly BlockEnergy[]])[]): string {
	const groups: RowGroup[] = components.map(([component, blocks]) => ({
		heading: componentTitle(component),
		rows: blocks.flatMap((b) => b.modules.map(moduleRow)),
	}));
	const inner = table(
		'By module',
		[
			{ title: 'Module' },
			{ title: 'Kind', text: true },
			{ title: 'Rank' },
			{ title: 'Norm' },
			{ title: 'Largest s' },
			{ title: 'Stable rank' },
			{ title: 'Effective rank' },
		],
		groups,
	);
	return `<details><summary>Every module</summary>${inner}</details>`;
}

function moduleRow(m: ModuleEnergy): readonly string[] {
	return [
		m.path,
		m.family,
		m.rank === null ? '–' : String(m.rank),
		m.measure === 'factors' ? 'needs the base' : figure(m.norm),
		m.values === null ? '–' : figure(m.values[0] ?? 0),
		m.stableRank === null ? '–' : m.stableRank.toFixed(1),
		m.effectiveRank === null ? '–' : m.effectiveRank.toFixed(1),
	];
}
