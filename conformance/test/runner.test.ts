import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import Ajv2020 from 'ajv/dist/2020.js';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Report } from '../src/report/report.js';
import { writeMiniSuite } from './support/mini-suite.js';

const at = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const PROGRAM = at('../bin/lora-conformance.js');
const OWN = `"${process.execPath}" "${at('../harness/node/subject.mjs')}"`;
const mutant = (args: string): string => `"${process.execPath}" "${at('../mutants/subject.mjs')}" ${args}`;

let dir = '';
beforeAll(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'runner-test-'));
	writeMiniSuite(path.join(dir, 'suite'));
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

function run(
	subject: string,
	...more: readonly string[]
): { readonly status: number | null; readonly out: string; readonly report: Report } {
	const json = path.join(dir, 'report.json');
	fs.rmSync(json, { force: true });
	const args = [PROGRAM, 'run', '--subject', subject, '--suite', path.join(dir, 'suite'), '--json', json, ...more];
	const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: 'utf8', cwd: dir });
	const report = fs.existsSync(json) ? (JSON.parse(fs.readFileSync(json, 'utf8')) as Report) : ({} as Report);
	return { status, out: stdout + stderr, report };
}

describe('right subjects', () => {
	it.each(['f32', 'f16', 'bf16'])('this project at %s', (precision) => {
		const { status, out, report } = run(`${OWN} --precision ${precision}`);
		expect(out).toMatch(/\n19 passed, 0 failed, 0 skipped\n$/);
		expect(status).toBe(0);
		expect(report.levels.find((l) => l.level === 'L4')?.grade).toBe('A');
	});

	it('a plain one that rounds three times, at bf16', () => {
		expect(run(mutant('--precision bf16')).report.counts).toMatchObject({ passed: 16, failed: 0 });
	});
});

describe('wrong subjects are named', () => {
	it.each([
		'alpha-ignored',
		'rank-of-first-module-for-all',
		'alpha-of-first-module-for-all',
		'user-scale-squared',
		'delta-column-major',
		'conv3x3-ignored',
		'k-and-v-exchanged',
		'module-order',
		'bf16-rounding',
		'swap-keeps-old',
	])('%s', (fault) => {
		const { status, report } = run(mutant(`--fault ${fault}`));
		expect(status).toBe(1);
		const [first] = report.diagnoses;
		expect([first?.code, ...(first?.runnersUp ?? [])].slice(0, 2)).toContain(fault);
	});

	it('unload by subtraction, where rounding shows it', () => {
		const { report } = run(mutant('--fault unload-by-subtraction --precision bf16'));
		expect(report.diagnoses[0]?.code).toBe('unload-by-subtraction');
	});
});

describe('reports', () => {
	it('JSON fits its schema, and is the same again and with eight workers', () => {
		const validate = new Ajv2020.default({ strict: false }).compile(
			JSON.parse(fs.readFileSync(at('../schema/report.schema.json'), 'utf8')) as object,
		);
		const subject = mutant('--fault alpha-ignored');
		const texts = [
			['--jobs', '1'],
			['--jobs', '8'],
			['--jobs', '2'],
		].map((more) => {
			const { report } = run(subject, ...more);
			expect(validate(report), JSON.stringify(validate.errors)).toBe(true);
			const { run: _, ...rest } = report;
			return JSON.stringify(rest);
		});
		expect(new Set(texts).size).toBe(1);
	});

	it('JUnit, HTML, Markdown and badge', () => {
		const files = ['junit.xml', 'r.html', 'r.md', 'badge.json'].map((name) => path.join(dir, name));
		const [junit = '', html = '', md = '', badge = ''] = files;
		const { status } = run(mutant('--fault sign-flipped'), '--junit', junit, '--html', html, '--md', md, '--badge', badge);
		expect(status).toBe(1);
		const xml = fs.readFileSync(junit, 'utf8');
		expect(xml).toMatch(/<failure /); // its schema: junit.test.ts
		const page = fs.readFileSync(html, 'utf8');
		expect(page).toContain('sign-flipped');
		expect(page).not.toMatch(/<(script|link|img)[^>]+(src|href)="(?!data:)/);
		expect(fs.readFileSync(md, 'utf8')).toContain('**sign-flipped**');
		expect(JSON.parse(fs.readFileSync(badge, 'utf8'))).toMatchObject({ schemaVersion: 1, label: 'LoRA conformance', color: 'red' });
	});

	it('known failures, unexpected passes and stale patterns', () => {
		const list = path.join(dir, 'known.txt');
		const failing = ['--known-failing', list, '--filter', 'L2/**'];
		fs.writeFileSync(list, 'L2/mini/*  https://example.org/1\n');
		expect(run(mutant('--fault sign-flipped'), ...failing)).toMatchObject({ status: 0, report: { counts: { known: 3, failed: 0 } } });
		expect(run(mutant(''), ...failing)).toMatchObject({ status: 1, report: { counts: { unexpected: 3 } } });
		fs.writeFileSync(list, 'L2/mini/none\n');
		expect(run(mutant(''), ...failing)).toMatchObject({ status: 1, report: { stalePatterns: ['L2/mini/none (line 1)'] } });
	});

	it('compare says what got worse', () => {
		const [a, b] = [path.join(dir, 'a.json'), path.join(dir, 'b.json')];
		run(mutant(''), '--filter', 'L2/**');
		fs.copyFileSync(path.join(dir, 'report.json'), a);
		run(mutant('--fault sign-flipped'), '--filter', 'L2/**');
		fs.copyFileSync(path.join(dir, 'report.json'), b);
		const compare = (x: string, y: string): { status: number | null; out: string } => {
			const { status, stdout } = spawnSync(process.execPath, [PROGRAM, 'compare', x, y], { encoding: 'utf8' });
			return { status, out: stdout };
		};
		expect(compare(a, b)).toMatchObject({ status: 1 });
		expect(compare(a, b).out).toContain('3 worse, 0 better');
		expect(compare(b, a)).toMatchObject({ status: 0 });
	});
});

describe('exit codes', () => {
	it.each([
		[['run'], 2],
		[['run', '--subject', 'true', '--filter', 'no/such/*'], 2],
		[['run', '--subject', 'exit 1'], 3],
		[['show', 'no/such'], 2],
		[['--help'], 0],
		[['list', '--level', 'L9'], 2],
	] as const)('%j gives %i', (args, code) => {
		const more = args[0] === 'run' || args[0] === 'show' ? ['--suite', path.join(dir, 'suite')] : [];
		expect(spawnSync(process.execPath, [PROGRAM, ...args, ...more]).status).toBe(code);
	});
});
