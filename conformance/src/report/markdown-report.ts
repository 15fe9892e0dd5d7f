import type { CaseResult } from '../run/result.js';
import { escapeCell } from './escape.js';
import { closingLine } from './make-report.js';
import type { Report } from './report.js';

/** Failures shown in full; a step summary has a limit of 1 MiB. */
const SHOWN = 50;

/** For `$GITHUB_STEP_SUMMARY` and issues. */
export function markdownReport(report: Report): string {
	const { subject } = report;
	const lines = [
		`## LoRA conformance: ${escapeCell(subject.name)} ${escapeCell(subject.version)}`,
		'',
		`${closingLine(report.counts)}${extra(report)}. Suite ${report.suite}, ${subject.precision}${report.profile === null ? '' : `, profile ${report.profile}`}, isolation by ${report.isolation}.`,
		'',
	];
	if (report.diagnoses.length > 0) {
		lines.push('### What is wrong', '');
		for (const d of report.diagnoses) {
			const or = d.runnersUp.length === 0 ? '' : ` (or ${d.runnersUp.join(', ')})`;
			lines.push(
				`- **${d.code}**${or}${d.detail === null ? '' : ` (${escapeCell(d.detail)})`}, ${d.cases} ${d.cases === 1 ? 'case' : 'cases'}: ${d.sentence}`,
			);
		}
		lines.push('');
	}
	lines.push(
		'| level | passed | failed | known | inconclusive | skipped | largest error, share of its allowance | grade |',
		'|---|--:|--:|--:|--:|--:|--:|---|',
	);
	for (const { level, counts, largestShare, grade } of report.levels) {
		const share = largestShare === null ? '' : largestShare.toPrecision(2);
		lines.push(
			`| ${level} | ${counts.passed} | ${counts.failed + counts.unexpected} | ${counts.known} | ${counts.inconclusive} | ${counts.skipped} | ${share} | ${grade ?? ''} |`,
		);
	}
	const wrong = report.results.filter((r) => r.status === 'failed' || r.status === 'unexpected');
	if (wrong.length > 0) {
		lines.push('', '| case | what | diagnosis |', '|---|---|---|', ...wrong.slice(0, SHOWN).map(row));
		if (wrong.length > SHOWN) lines.push('', `and ${wrong.length - SHOWN} more.`);
	}
	if (report.outside.length > 0) lines.push('', `Written outside the case folders: ${report.outside.map(escapeCell).join(', ')}.`);
	if (report.stalePatterns.length > 0) lines.push('', `Patterns that fit no case: ${report.stalePatterns.map(escapeCell).join(', ')}.`);
	return `${lines.join('\n')}\n`;
}

function row(r: CaseResult): string {
	const [source] = r.source;
	const why = source === undefined ? '' : ` ([why](${source.url}))`;
	return `| ${escapeCell(r.id)}${why} | ${escapeCell(r.message)} | ${r.diagnosis?.code ?? ''} |`;
}

/** `; 2 failed as known, 1 inconclusive`. */
export function extra({ counts }: Report): string {
	const parts: string[] = [];
	if (counts.known > 0) parts.push(`${counts.known} failed as known`);
	if (counts.unexpected > 0) parts.push(`${counts.unexpected} passed although known as failing`);
	if (counts.inconclusive > 0) parts.push(`${counts.inconclusive} inconclusive`);
	return parts.length === 0 ? '' : `; ${parts.join(', ')}`;
}
