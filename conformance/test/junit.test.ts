import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { junitXml } from '../src/report/junit.js';
import type { Report } from '../src/report/report.js';
import { junitProblems } from './support/junit-rules.js';
import { writeMiniSuite } from './support/mini-suite.js';

const at = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const PROGRAM = at('../bin/lora-conformance.js');
const MUTANT = `"${process.execPath}" "${at('../mutants/subject.mjs')}"`;

/**
 * The schemas themselves are other people's files and not in this repository. With their paths here, and xmllint, they are
 * asked too: JUNIT_XSD=JUnit.xsd:junit-10.xsd (junit-rules.ts says where they come from).
 */
const SCHEMAS = (process.env['JUNIT_XSD'] ?? '').split(':').filter((file) => file !== '');
const XMLLINT = process.env['XMLLINT'] ?? 'xmllint';

let dir = '';
let xml = '';
let report: Report;
beforeAll(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'junit-test-'));
	writeMiniSuite(path.join(dir, 'suite'));
	fs.writeFileSync(path.join(dir, 'known.txt'), 'L2/mini/*\nL4/mini/zero\nno/such/case\n');
	const args = [PROGRAM, 'run', '--subject', `${MUTANT} --fault sign-flipped`, '--suite', path.join(dir, 'suite')];
	const out = ['--known-failing', path.join(dir, 'known.txt'), '--junit', path.join(dir, 'junit.xml'), '--json', path.join(dir, 'r.json')];
	expect(spawnSync(process.execPath, [...args, ...out]).status).toBe(1);
	xml = fs.readFileSync(path.join(dir, 'junit.xml'), 'utf8');
	report = JSON.parse(fs.readFileSync(path.join(dir, 'r.json'), 'utf8')) as Report;
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

/** A report with everything that could break an XML file. */
function nasty(): Report {
	const text = 'a <b> & "c" \'d\' ]]> \u0000\u001b[31m \ufffe é 漢 🙂\nnext\tline\r';
	const results = report.results.map((r, i) => (i % 2 === 0 ? r : { ...r, title: text, message: text, stderr: text }));
	return { ...report, subject: { ...report.subject, name: text, version: text }, results, outside: [text] };
}

/** Each breaks one rule. */
const BROKEN: readonly (readonly [what: string, from: RegExp, to: string])[] = [
	['an attribute of testsuites', /<testsuites>/, '<testsuites tool="x">'],
	['no hostname', / hostname="[^"]*"/, ''],
	['a time zone', / timestamp="([^"]*)"/, ' timestamp="$1Z"'],
	['no package', / package="[^"]*"/, ''],
	['no properties', /<properties>[\s\S]*?<\/properties>/, ''],
	['no system-err', /<system-err\/>/, ''],
	['the parts in another order', /<system-out\/>(\s*)<system-err\/>/, '<system-err/>$1<system-out/>'],
	['a case without classname', /<testcase classname="[^"]*"/, '<testcase'],
	['time in words', /(<testcase [^>]*)time="[^"]*"/, '$1time="long"'],
	['failure without type', /<failure type="[^"]*"/, '<failure'],
	['two outcomes', /<skipped([^>]*)\/>/, '<skipped$1/><skipped$1/>'],
	['an unknown element', /<system-out\/>/, '<system-out/><note/>'],
	['not well-formed', /<\/testsuite>/, ''],
	['a bare ampersand', /<system-out\/>/, '<system-out>a & b</system-out>'],
];

describe('JUnit', () => {
	it('fits both schemas, and its counts are those of the report', () => {
		expect(junitProblems(xml)).toEqual([]);
		const count = (pattern: RegExp): number => (xml.match(pattern) ?? []).length;
		const { counts } = report;
		expect(Math.min(counts.failed, counts.known, counts.passed, counts.unexpected)).toBeGreaterThan(0);
		expect(count(/<testcase /g)).toBe(report.results.length + 1); // and the pattern that fits no case
		expect(count(/<failure /g)).toBe(counts.failed + counts.unexpected + 1);
		expect(count(/<skipped /g)).toBe(counts.known + counts.skipped + counts.inconclusive);
		expect(xml).toContain('<failure type="stale-pattern" message="the pattern fits no case: no/such/case');
		expect(xml).toContain('<failure type="sign-flipped"');
	});

	it('whatever a subject says', () => {
		const text = junitXml(nasty(), { times: new Map(), began: new Date('2026-01-02T03:04:05.678Z'), host: '' });
		expect(junitProblems(text)).toEqual([]);
		expect(text).toContain('timestamp="2026-01-02T03:04:05" hostname="localhost"');
	});

	it.each(BROKEN)('the check sees %s', (_, from, to) => {
		const broken = xml.replace(from, to);
		expect(broken).not.toBe(xml);
		expect(junitProblems(broken)).not.toEqual([]);
	});
});

describe.runIf(SCHEMAS.length > 0)('the schemas themselves, by xmllint', () => {
	const valid = (schema: string, text: string): boolean => {
		const file = path.join(dir, 'checked.xml');
		fs.writeFileSync(file, text);
		const { status, stderr } = spawnSync(XMLLINT, ['--noout', '--schema', schema, file], { encoding: 'utf8' });
		if (status !== 0 && status !== 3 && status !== 1) throw new Error(`xmllint: ${stderr}`);
		return status === 0;
	};

	it.each(SCHEMAS)('%s', (schema) => {
		expect(valid(schema, xml)).toBe(true);
		expect(valid(schema, junitXml(nasty(), { times: new Map(), began: new Date(), host: '' }))).toBe(true);
	});

	it.each(BROKEN)('one of them sees %s too', (_, from, to) => {
		expect(SCHEMAS.every((schema) => valid(schema, xml.replace(from, to)))).toBe(false);
	});
});
