import { extra } from './markdown-report.js';
import type { Report } from './report.js';

/** Failures printed; the rest is in the other reports. */
const SHOWN = 20;

/** Everything above the closing line. */
export function consoleReport(report: Report): string {
	const { subject } = report;
	const lines: string[] = [];
	const wrong = report.results.filter((r) => r.status === 'failed' || r.status === 'unexpected');
	for (const r of wrong.slice(0, SHOWN)) {
		lines.push(`✗ ${r.id}`, `    ${r.message}`);
		const code = r.diagnosis;
		if (code !== null) lines.push(`    ${code.code}${code.detail === undefined ? '' : ` (${code.detail})`}: ${code.sentence}`);
		if (r.stderr !== null)
			lines.push(
				...r.stderr
					.split('\n')
					.slice(-4)
					.map((line) => `    | ${line}`),
			);
	}
	if (wrong.length > SHOWN) lines.push(`… and ${wrong.length - SHOWN} more`);
	for (const pattern of report.stalePatterns) lines.push(`✗ known-failing pattern fits no case: ${pattern}`);
	for (const file of report.outside) lines.push(`✗ written outside the case folders: ${file}`);
	if (report.diagnoses.length > 0) lines.push('', 'What is wrong:');
	for (const d of report.diagnoses) {
		lines.push(
			`  ${d.code}${d.runnersUp.length === 0 ? '' : ` or ${d.runnersUp.join(' or ')}`} (${d.cases} ${d.cases === 1 ? 'case' : 'cases'}): ${d.sentence}`,
		);
	}
	lines.push(
		'',
		`${subject.name} ${subject.version}, ${subject.precision}, suite ${report.suite}, isolation by ${report.isolation}, ${report.run.seconds} s`,
	);
	for (const { level, counts, largestShare, grade } of report.levels) {
		const asked = counts.passed + counts.failed + counts.known + counts.unexpected + counts.inconclusive;
		const share = largestShare === null ? '' : `, largest error ${largestShare.toPrecision(2)} of its allowance`;
		lines.push(
			`  ${level}  ${counts.passed}/${asked}${counts.skipped > 0 ? `, ${counts.skipped} skipped` : ''}${share}${grade === null ? '' : `, grade ${grade}`}`,
		);
	}
	const more = extra(report);
	if (more !== '') lines.push(more.slice(2));
	return `${lines.join('\n').trimStart()}\n`;
}

/** Workflow commands of GitHub Actions: at most 10 annotations of a kind are shown. */
export function annotations(report: Report): string {
	const data = (text: string): string => text.replace(/%/g, '%25').replace(/\r/g, '%0D').replace(/\n/g, '%0A');
	const property = (text: string): string => data(text).replace(/:/g, '%3A').replace(/,/g, '%2C');
	const wrong = report.results.filter((r) => r.status === 'failed' || r.status === 'unexpected');
	const errors: readonly (readonly [title: string, text: string])[] = [
		...report.stalePatterns.map((pattern) => ['known-failing', `the pattern fits no case: ${pattern}`] as const),
		...report.outside.map((file) => ['isolation', `written outside the case folders: ${file}`] as const),
		...wrong.map((r) => [r.id, `${r.message}${r.diagnosis === null ? '' : ` [${r.diagnosis.code}: ${r.diagnosis.sentence}]`}`] as const),
	];
	return errors
		.slice(0, 9)
		.map(([title, text]) => `::error title=${property(`LoRA conformance ${title}`)}::${data(text)}\n`)
		.join('');
}
