import { escapeControls } from './errors.js';
import { blockRows, plainRows, type Row } from './inspect-rows.js';
import type { InspectReport } from './inspect-types.js';

const MAX_VALUE = 600;

/** A report as Markdown for an issue: a table of the plain words, one of the blocks, the findings. Text of the file is escaped. */
export function inspectMarkdown(report: InspectReport): string {
	const parts = [`### ${cell(report.file.name)}`, '', ...table([['', ''], ...plainRows(report).map(trim)])];
	if (report.blocks.length > 0) {
		parts.push('', '<details><summary>Blocks</summary>', '', ...table(blockRows(report.blocks)), '', '</details>');
	}
	const findings = [...report.errors, ...report.warnings];
	if (findings.length > 0) parts.push('', ...findings.map((f) => `- \`${f.code}\` ${cell(f.message)}`));
	return `${parts.join('\n')}\n`;
}

function trim([label, value]: Row): Row {
	return [label.trim(), value];
}

function table([head = [], ...rows]: readonly (readonly string[])[]): string[] {
	const line = (cells: readonly string[]): string => `| ${cells.map(cell).join(' | ')} |`;
	return [line(head), `|${head.map(() => ' --- |').join('')}`, ...rows.map(line)];
}

/** Nothing of a file may become markup: no tags, no links, no table bars, no code. */
function cell(text: string): string {
	const cut = text.length > MAX_VALUE ? `${text.slice(0, MAX_VALUE)}...` : text;
	return escapeControls(cut).replace(/[&<>|`*_[\]\\#!~@]/g, (c) => `&#${c.charCodeAt(0)};`);
}
