import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';
import { runSuite } from '../src/run/run-suite.js';
import { findIsolation, launchOf } from '../src/subject/sandbox.js';
import { loadSuite } from '../src/suite/load-suite.js';
import { writeOpenSuite } from './support/open-suite.js';

const HOSTILE = fileURLToPath(new URL('support/hostile.mjs', import.meta.url));
const PATH = process.env['PATH'];

let dir = '';
beforeAll(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sandbox-test-'));
	// Stands in for bubblewrap: notes its arguments, runs what is behind the two dashes.
	fs.writeFileSync(
		path.join(dir, 'bwrap'),
		`#!/bin/sh\necho "$*" >> "${dir}/calls"\nwhile [ "$1" != -- ]; do shift; done\nshift\nexec "$@"\n`,
		{ mode: 0o755 },
	);
	writeOpenSuite(path.join(dir, 'cases'), ['a', 'b']);
	process.env['PATH'] = `${dir}:${PATH}`;
});
afterAll(() => {
	process.env['PATH'] = PATH;
	fs.rmSync(dir, { recursive: true, force: true });
});

it('everything but the case folders is bound read-only, without network', () => {
	const { program, args } = launchOf('echo hi', 'bubblewrap', '/tmp/x/cases');
	expect(program).toBe('bwrap');
	const text = args.join(' ');
	expect(text).toContain('--ro-bind / /');
	expect(text).toContain('--bind /tmp/x/cases /tmp/x/cases');
	expect(text).toContain('--unshare-net --unshare-pid --die-with-parent');
	expect(text).not.toMatch(/--dev-bind \/dev \/dev/);
	expect(args.slice(-4)).toEqual(['--', '/bin/sh', '-c', 'echo hi']);
});

it('is used where it works, and the outcome says so', async () => {
	expect(findIsolation()).toBe('bubblewrap');
	const suite = loadSuite(path.join(dir, 'cases'));
	const outcome = await runSuite({
		suite,
		cases: suite.cases,
		command: `"${process.execPath}" "${HOSTILE}" die`,
		jobs: 1,
		limits: { timeout: 5000, startTimeout: 20_000, memory: 2 ** 30 },
		isolation: 'auto',
	});
	expect(outcome.isolation).toBe('bubblewrap');
	expect(outcome.results.map((r) => r.status)).toEqual(['passed', 'passed']);
	expect(fs.readFileSync(path.join(dir, 'calls'), 'utf8')).toMatch(/--bind \S+\/slot-0\/cases \S+\/slot-0\/cases/);
});

it('is not used where it fails', () => {
	fs.writeFileSync(path.join(dir, 'bwrap'), '#!/bin/sh\nexit 1\n', { mode: 0o755 });
	expect(findIsolation()).toBe('hashes');
});
