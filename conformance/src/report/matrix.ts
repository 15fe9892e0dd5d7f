import type { CaseResult } from '../run/result.js';
import { LEVELS } from '../suite/case.js';
import { escapeMarkup as e, escapeCell } from './escape.js';
import { PAGE_STYLE } from './page-style.js';
import type { Report } from './report.js';

/** One cell: how many of the cases that were asked passed. */
export interface Cell {
	readonly passed: number;
	readonly asked: number;
	readonly skipped: number;
	readonly inconclusive: number;
}

export interface MatrixRow {
	readonly group: 'level' | 'feature';
	readonly name: string;
	readonly cells: readonly Cell[];
}

/** Rows: levels, then every feature that a case asks for. Columns: the reports. */
export function matrixRows(reports: readonly Report[]): readonly MatrixRow[] {
	const features = [...new Set(reports.flatMap((r) => r.results.flatMap((c) => c.features)))].sort();
	const cell = (report: Report, take: (r: CaseResult) => boolean): Cell => {
		const count = { passed: 0, asked: 0, skipped: 0, inconclusive: 0 };
		for (const r of report.results) {
			if (!take(r)) continue;
			if (r.status === 'skipped') count.skipped++;
			else if (r.status === 'inconclusive') count.inconclusive++;
			else {
				count.asked++;
				if (r.status === 'passed' || r.status === 'unexpected') count.passed++;
			}
		}
		return count;
	};
	const rows: MatrixRow[] = [];
	for (const level of LEVELS) {
		if (reports.some((r) => r.results.some((c) => c.level === level))) {
			rows.push({ group: 'level', name: level, cells: reports.map((r) => cell(r, (c) => c.level === level)) });
		}
	}
	for (const name of features) rows.push({ group: 'feature', name, cells: reports.map((r) => cell(r, (c) => c.features.includes(name))) });
	return rows;
}

const LEVEL_NAMES = new Map([
	['L0', 'reads the container'],
	['L1', 'layout, modules, leftovers'],
	['L2', 'alpha and scaling'],
	['L3', 'deltas'],
	['L4', 'weights, strength, unload, stack'],
	['L5', 'outputs'],
	['L6', 'pictures'],
]);

function label({ group, name }: MatrixRow): string {
	return group === 'level' ? `${name} ${LEVEL_NAMES.get(name) ?? ''}` : name;
}

function cellText({ passed, asked, skipped, inconclusive }: Cell): string {
	if (asked === 0) return inconclusive > 0 ? 'inconclusive' : skipped > 0 ? 'not done' : '-';
	return `${passed}/${asked}`;
}

function kind({ passed, asked }: Cell): string {
	return asked === 0 ? 'none' : passed === asked ? 'yes' : passed === 0 ? 'no' : 'part';
}

function heading({ subject, profile }: Report): string {
	return `${subject.name} ${subject.version} (${subject.precision}${profile === null ? '' : `, profile ${profile}`})`;
}

export function matrixMarkdown(reports: readonly Report[]): string {
	const rows = matrixRows(reports).map((row) => `| ${escapeCell(label(row))} | ${row.cells.map(cellText).join(' | ')} |`);
	return `| | ${reports.map((r) => escapeCell(heading(r))).join(' | ')} |\n|---|${reports.map(() => '--:|').join('')}\n${rows.join('\n')}\n`;
}

/** One page, nothing loaded from anywhere. */
export function matrixHtml(reports: readonly Report[]): string {
	const rows = matrixRows(reports).map(
		(row) => `<tr><th>${e(label(row))}</th>${row.cells.map((c) => `<td class="${kind(c)}">${cellText(c)}</td>`).join('')}</tr>`,
	);
	const suites = [...new Set(reports.map((r) => r.suite))].join(', ');
	return `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>LoRA conformance: runtimes and features</title>
<style>${PAGE_STYLE}</style>
</head>
<body>
<main>
<h1>LoRA conformance</h1>
<p class="facts">Cases passed of those asked, suite ${e(suites)}. "not done": the runtime says that it does not do this.</p>
<div class="scroll"><table>
<thead><tr><th></th>${reports.map((r) => `<th>${e(heading(r))}</th>`).join('')}</tr></thead>
<tbody>
${rows.join('\n')}
</tbody>
</table></div>
</main>
</body>
</html>
`;
}
