import type { CaseResult } from '../run/result.js';
import { escapeMarkup } from './escape.js';
import type { Report } from './report.js';

/** JUnit XML (the Jenkins schema): one suite for each level. Known failures are skipped tests, unexpected passes failures. */
export function junitXml(report: Report, times: ReadonlyMap<string, number>): string {
	const seconds = (results: readonly CaseResult[]): string =>
		(results.reduce((sum, r) => sum + (times.get(r.id) ?? 0), 0) / 1000).toFixed(3);
	const suites = report.levels.map(({ level }) => {
		const results = report.results.filter((r) => r.level === level);
		const failures = results.filter(isFailure).length;
		const skipped = results.filter((r) => r.status === 'skipped' || r.status === 'known' || r.status === 'inconclusive').length;
		const head = `	<testsuite name="lora-conformance ${level}" tests="${results.length}" failures="${failures}" errors="0" skipped="${skipped}" time="${seconds(results)}">`;
		return [head, ...results.map((r) => testCase(r, seconds([r]))), '	</testsuite>'].join('\n');
	});
	const { results } = report;
	const name = escapeMarkup(`${report.subject.name} ${report.subject.version} (${report.subject.precision})`);
	return `<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="${name}" tests="${results.length}" failures="${results.filter(isFailure).length}" errors="0" time="${seconds(results)}">
${suites.join('\n')}
</testsuites>
`;
}

function isFailure({ status }: CaseResult): boolean {
	return status === 'failed' || status === 'unexpected';
}

function testCase(r: CaseResult, time: string): string {
	const [level = '', ...rest] = r.id.split('/');
	const name = rest.pop() ?? r.id;
	const head = `		<testcase classname="${escapeMarkup([level, ...rest].join('.'))}" name="${escapeMarkup(name)}" time="${time}"`;
	if (r.status === 'passed') return `${head}/>`;
	const message = escapeMarkup(r.message);
	if (!isFailure(r))
		return `${head}>\n			<skipped message="${r.status === 'skipped' ? '' : `${r.status}: `}${message}"/>\n		</testcase>`;
	const lines = [r.title, r.diagnosis?.sentence, r.source[0]?.url, r.stderr].filter((line) => typeof line === 'string');
	return `${head}>\n			<failure type="${escapeMarkup(r.diagnosis?.code ?? r.status)}" message="${message}">${escapeMarkup(lines.join('\n'))}</failure>\n		</testcase>`;
}
