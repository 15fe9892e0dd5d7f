import { type ChildProcess, execFileSync, spawn } from 'node:child_process';
import fs from 'node:fs';
import net from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type RunOutcome, runSuite } from '../src/run/run-suite.js';
import { findIsolation } from '../src/subject/sandbox.js';
import { loadSuite } from '../src/suite/load-suite.js';
import { writeOpenSuite } from './support/open-suite.js';

/**
 * The real bubblewrap, where it works (Debian's `bubblewrap`, and user namespaces or root); shown as skipped elsewhere:
 * sandbox.test.ts holds the command line with a stand-in.
 */
const REAL = findIsolation() === 'bubblewrap';
const HOSTILE = fileURLToPath(new URL('support/hostile.mjs', import.meta.url));
const EVIL = ['L0/open/evil-1', 'L0/open/evil-2'];

let root = '';
let guarded = '';
beforeAll(() => {
	root = fs.mkdtempSync(path.join(os.tmpdir(), 'bubblewrap-test-'));
	guarded = path.join(root, 'guarded');
	fs.mkdirSync(guarded);
	writeOpenSuite(path.join(root, 'cases'), ['good-0', 'evil-1', 'good-1', 'evil-2', 'good-2']);
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

async function run(mode: string, jobs = 1): Promise<RunOutcome> {
	const suite = loadSuite(path.join(root, 'cases'));
	return await runSuite({
		suite,
		cases: suite.cases,
		command: `"${process.execPath}" "${HOSTILE}" ${mode}`,
		jobs,
		limits: { timeout: 1500, startTimeout: 20_000, memory: 400 * 2 ** 20 },
		isolation: 'bubblewrap',
	});
}

const failedIds = ({ results }: RunOutcome): readonly string[] => results.filter((r) => r.status !== 'passed').map((r) => r.id);
const messageOf = ({ results }: RunOutcome): string => results.find((r) => r.status !== 'passed')?.message ?? '';

function sleepers(seconds: number): number {
	const rows = execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' }).split('\n');
	return rows.filter((row) => row.trim().endsWith(`sleep ${seconds}`)).length;
}

describe.runIf(REAL)('behind bubblewrap', () => {
	it.each([
		['hang', /^timeout/],
		['garbage', /^protocol: a line that is no JSON/],
		['flood', /^output/],
		['flood-stderr', /^output|^timeout/],
		['half-line', /^crash: it ended with exit code 3 in the middle of a line/],
		['die', /^crash: it ended with exit code 7/],
		['wrong-id', /^protocol: an answer with id/],
		['memory', /^memory: \d+ MiB resident, the limit is 400 MiB|^timeout/],
		['write-beside', /^it wrote outside its folder/],
	])('%s fails its own case and no other', async (mode, message) => {
		const outcome = await run(mode);
		expect(outcome.isolation).toBe('bubblewrap');
		expect(messageOf(outcome)).toMatch(message);
		expect(failedIds(outcome)).toEqual(EVIL);
	});

	it('children are ended, also those that left the group and cleared their environment', async () => {
		const before = [sleepers(303), sleepers(301)];
		expect(failedIds(await run('fork 303', 2))).toEqual(EVIL);
		expect(failedIds(await run('escape', 2))).toEqual(EVIL);
		expect([sleepers(303), sleepers(301)]).toEqual(before);
	});

	it('nothing outside can be written', async () => {
		for (const folder of [guarded, os.tmpdir(), os.homedir(), path.dirname(HOSTILE)]) {
			const outcome = await run(`write-argument "${folder}"`);
			expect(messageOf(outcome), folder).toMatch(/^crash/);
			expect(failedIds(outcome), folder).toEqual(EVIL);
			expect(
				fs.readdirSync(folder).filter((name) => name.startsWith('evil-')),
				folder,
			).toEqual([]);
		}
	});

	it('inputs cannot be changed: a process that dies of trying after its answer harms no case', async () => {
		expect(failedIds(await run('change-input'))).toEqual([]);
	});

	it('there is a scratch in memory, and what is written there is gone', async () => {
		expect(failedIds(await run('write-argument "$TMPDIR"'))).toEqual([]);
		for (const folder of ['/dev/shm', '/dev']) {
			expect(failedIds(await run(`write-argument ${folder}`)), folder).toEqual([]);
			expect(
				fs.readdirSync(folder).filter((name) => name.startsWith('evil-')),
				folder,
			).toEqual([]);
		}
	});

	it('no process outside can be signalled', async () => {
		const decoy: ChildProcess = spawn('sleep', ['302'], { stdio: 'ignore' });
		try {
			expect(failedIds(await run(`kill ${decoy.pid}`))).toEqual([]);
			expect([decoy.exitCode, decoy.signalCode]).toEqual([null, null]);
		} finally {
			decoy.kill('SIGKILL');
		}
	});

	it('there is no network, not even to this machine', async () => {
		let connections = 0;
		const server = net.createServer((socket) => {
			connections++;
			socket.destroy();
		});
		await new Promise<void>((done) => server.listen(0, '127.0.0.1', done));
		try {
			const address = server.address();
			if (address === null || typeof address === 'string') throw new Error('no port');
			expect(failedIds(await run(`network ${address.port}`))).toEqual([]);
			expect(connections).toBe(0);
		} finally {
			server.close();
		}
	});
});
