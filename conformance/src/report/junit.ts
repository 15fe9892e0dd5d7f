import type { CaseResult } from '../run/result.js';
import { escapeMarkup } from './escape.js';
import { closingLine } from './make-report.js';
import type { Report } from './report.js';

/** What JUnit wants to know and the report keeps apart, because it is never the same twice. */
export interface JunitRun {
	/** Milliseconds by case id. */
	readonly times: ReadonlyMap<string, number>;
	readonly began: Date;
	readonly host: string;
}

/**
 * JUnit XML that fits both schemas in use: Ant's (windyroad/JUnit-Schema JUnit.xsd: every attribute of a suite and its four
 * parts, none of `testsuites`) and Jenkins' (jenkinsci/xunit-plugin junit-10.xsd). One suite for each level. Known failures
 * are skipped tests, unexpected passes failures; what fails the run but belongs to no case is a suite of its own.
 */
export function junitXml(report: Report, run: JunitRun): string {
	const suites = report.levels.map(({ level }) => {
		const results = report.results.filter((r) => r.level === level);
		return { name: level as string, tests: results.map((r) => testOf(r, run.times.get(r.id) ?? 0)) };
	});
	const stray = [
		...report.stalePatterns.map((pattern) => failing('known-failing', pattern, 'stale-pattern', `the pattern fits no case: ${pattern}`)),
		...report.outside.map((file) => failing('isolation', file, 'wrote-outside', `written outside the case folders: ${file}`)),
	];
	if (stray.length > 0) suites.push({ name: 'run', tests: stray });
	return `<?xml version="1.0" encoding="UTF-8"?>\n<testsuites>\n${suites.map((s, id) => suiteXml(s, id, report, run)).join('\n')}\n</testsuites>\n`;
}

interface Test {
	readonly classname: string;
	readonly name: string;
	readonly time: number;
	readonly outcome: 'passed' | 'skipped' | 'failed';
	readonly message: string;
	readonly type: string;
	readonly text: string;
}

interface Suite {
	readonly name: string;
	readonly tests: readonly Test[];
}

function testOf(r: CaseResult, time: number): Test {
	const segments = r.id.split('/');
	const name = segments.pop() ?? r.id;
	const failed = r.status === 'failed' || r.status === 'unexpected';
	const outcome = failed ? 'failed' : r.status === 'passed' ? 'passed' : 'skipped';
	return {
		classname: segments.join('.'),
		name,
		time,
		outcome,
		message: outcome === 'skipped' && r.status !== 'skipped' ? `${r.status}: ${r.message}` : r.message,
		type: r.diagnosis?.code ?? r.status,
		text: [r.title, r.diagnosis?.sentence, r.source[0]?.url, r.stderr].filter((line) => typeof line === 'string').join('\n'),
	};
}

function failing(classname: string, name: string, type: string, message: string): Test {
	return { classname, name, time: 0, outcome: 'failed', message, type, text: message };
}

function suiteXml({ name, tests }: Suite, id: number, report: Report, { began, host }: JunitRun): string {
	const { subject } = report;
	const facts = {
		subject: `${subject.name} ${subject.version}`,
		precision: subject.precision,
		suite: report.suite,
		profile: report.profile ?? 'none',
		isolation: report.isolation,
		result: closingLine(report.counts),
	};
	const count = (outcome: Test['outcome']): number => tests.filter((t) => t.outcome === outcome).length;
	const head = attributes({
		id: String(id),
		name: `lora-conformance ${name}`,
		package: 'lora-conformance',
		// The schema's form has no zone; it is UTC.
		timestamp: began.toISOString().slice(0, 19),
		hostname: host.trim() === '' ? 'localhost' : host,
		tests: String(tests.length),
		failures: String(count('failed')),
		errors: '0',
		skipped: String(count('skipped')),
		time: seconds(tests.reduce((sum, t) => sum + t.time, 0)),
	});
	const properties = Object.entries(facts).map(([key, value]) => `			<property${attributes({ name: key, value })}/>`);
	return `	<testsuite${head}>
		<properties>
${properties.join('\n')}
		</properties>
${tests.map((t) => `${testXml(t)}\n`).join('')}		<system-out/>
		<system-err/>
	</testsuite>`;
}

function testXml({ classname, name, time, outcome, message, type, text }: Test): string {
	const head = `		<testcase${attributes({ classname, name, time: seconds(time) })}`;
	if (outcome === 'passed') return `${head}/>`;
	const inner =
		outcome === 'skipped'
			? `<skipped${attributes({ message })}/>`
			: `<failure${attributes({ type, message })}>${escapeMarkup(text)}</failure>`;
	return `${head}>\n			${inner}\n		</testcase>`;
}

function attributes(values: Readonly<Record<string, string>>): string {
	// A line break in an attribute's value would be read as a space.
	return Object.entries(values)
		.map(([name, value]) => ` ${name}="${escapeMarkup(value).replace(/\r/g, '&#13;').replace(/\n/g, '&#10;').replace(/\t/g, '&#9;')}"`)
		.join('');
}

function seconds(milliseconds: number): string {
	return (milliseconds / 1000).toFixed(3);
}
