import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** harness/shell with this project's own command line tool behind it, asked by the built runner. */
const PROGRAM = fileURLToPath(new URL('../bin/lora-conformance.js', import.meta.url));
const HARNESS = fileURLToPath(new URL('../harness/shell/subject.sh', import.meta.url));
const LORA = fileURLToPath(new URL('../../packages/cli/bin/lora.js', import.meta.url));

interface Result {
	readonly id: string;
	readonly status: string;
	readonly message: string;
	readonly diagnosis?: { readonly code: string } | null;
}

let dir = '';
beforeAll(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'harness-shell-'));
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

function run(
	tool: string,
	...filter: readonly string[]
): { readonly name: string; readonly version: string; readonly results: readonly Result[] } {
	const report = path.join(dir, 'report.json');
	const { stderr } = spawnSync(
		process.execPath,
		[PROGRAM, 'run', '--subject', `sh ${HARNESS}`, '--isolation', 'hashes', '--json', report, '--filter', ...filter],
		{ cwd: dir, encoding: 'utf8', env: { ...process.env, TOOL: tool, NAME: 'a tool' } },
	);
	expect(stderr).toBe('');
	const { subject, results } = JSON.parse(fs.readFileSync(report, 'utf8')) as {
		readonly subject: { readonly name: string; readonly version: string };
		readonly results: readonly Result[];
	};
	return { ...subject, results };
}

describe('the shell harness', () => {
	it('drives `lora fuse`: what is file in, file out passes, the rest is skipped with a reason', () => {
		const { name, version, results } = run(
			`${process.execPath} ${LORA}`,
			'L4/lifecycle/strength-0.7',
			'L4/lifecycle/stack',
			'L4/lifecycle/strength-text-encoder-apart',
			'L4/lifecycle/unload',
			'L3/lora/locon-mid',
		);
		expect(name).toBe('a tool');
		expect(version).toBe(execFileSync(process.execPath, [LORA, '--version'], { encoding: 'utf8' }).trim());
		const status = Object.fromEntries(results.map((r) => [r.id, r.status]));
		expect(status).toMatchObject({
			'L4/lifecycle/strength-0.7': 'passed',
			'L4/lifecycle/stack': 'passed',
			'L4/lifecycle/strength-text-encoder-apart': 'passed',
			'L4/lifecycle/unload': 'skipped',
		});
		expect(results.find((r) => r.id === 'L4/lifecycle/unload')?.message).toBe('the tool loads adapters and writes one file');
	});

	it('a tool that squares the strength is named so', () => {
		// Stands before the real tool and changes what the harness says: 0.7 becomes 0.49.
		const tool = path.join(dir, 'squares.sh');
		fs.writeFileSync(
			tool,
			`#!/bin/sh\nfor a; do shift; set -- "$@" "$(printf '%s' "$a" | sed 's/@0\\.7$/@0.49/')"; done\nexec ${process.execPath} ${LORA} "$@"\n`,
		);
		const { results } = run(`sh ${tool}`, 'L4/lifecycle/strength-0.7', 'L4/lifecycle/strength-1');
		expect(results.map((r) => [r.id, r.status, r.diagnosis?.code])).toEqual([
			['L4/lifecycle/strength-0.7', 'failed', 'user-scale-squared'],
			['L4/lifecycle/strength-1', 'passed', undefined],
		]);
	});

	it('a tool that fails is a refusal with its own words', () => {
		const tool = path.join(dir, 'fails.sh');
		fs.writeFileSync(tool, '#!/bin/sh\nif [ "$1" = --version ]; then echo 1; exit; fi\necho "no \\"such\\" model" >&2\nexit 1\n');
		const { results } = run(`sh ${tool}`, 'L4/lifecycle/strength-1');
		expect(results[0]).toMatchObject({ status: 'failed', diagnosis: { code: 'refused' } });
		expect(results[0]?.message).toContain('no "such" model');
	});

	it('says how it is used', () => {
		expect(execFileSync('sh', [HARNESS, '--help'], { encoding: 'utf8' })).toMatch(
			/^A command line tool as a subject[\s\S]*TOOL[\s\S]*FEATURES/,
		);
	});
});
