import { escapeControls } from './errors.js';
import { blockRows, plainRows } from './inspect-rows.js';
import type { InspectReport } from './inspect-types.js';

/** Longest text of one value: a header can hold megabytes. */
const MAX_VALUE = 600;

/** A report in plain words, aligned, without colours, ending in a line feed. Text of the file is escaped. */
export function inspectText(report: InspectReport): string {
	const rows = plainRows(report);
	const width = Math.min(
		24,
		rows.reduce((max, [label]) => Math.max(max, label.length), 0),
	);
	const lines = rows.map(([label, value]) => `${clean(label).padEnd(width)}  ${clean(value)}`);
	if (report.blocks.length > 0) lines.push('', ...table(blockRows(report.blocks)));
	const findings = [...report.errors, ...report.warnings];
	if (findings.length > 0) lines.push('', ...findings.map((f) => `${f.code}: ${clean(f.message)}`));
	return `${lines.join('\n')}\n`;
}

/** Columns aligned with two blanks between; numbers are not special. */
function table(rows: readonly (readonly string[])[]): string[] {
	const widths: number[] = [];
	const cleaned = rows.map((row) => row.map((cell) => clean(cell)));
	for (const row of cleaned)
		row.forEach((cell, i) => {
			widths[i] = Math.max(widths[i] ?? 0, cell.length);
		});
	return cleaned.map((row) =>
		row
			.map((cell, i) => cell.padEnd(widths[i] ?? 0))
			.join('  ')
			.trimEnd(),
	);
}

function clean(text: string): string {
	const cut = text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}... (${text.length} characters)` : text;
	return escapeControls(cut);
}
