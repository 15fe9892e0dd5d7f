import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it, vi } from 'vitest';
import { main } from '../src/main.js';
import { LostFilesError } from '../src/run/lost-files-error.js';
import { type RunOptions, type RunOutcome, runSuite, SubjectError } from '../src/run/run-suite.js';
import type { Case } from '../src/suite/case.js';
import { loadSuite } from '../src/suite/load-suite.js';
import { writeOpenSuite } from './support/open-suite.js';

const HOSTILE = fileURLToPath(new URL('support/hostile.mjs', import.meta.url));
const NAMES = [...Array.from({ length: 10 }, (_, i) => `good-${i}`), 'evil-1', 'evil-2'];

let root = '';
beforeAll(() => {
	root = fs.mkdtempSync(path.join(os.tmpdir(), 'hostile-test-'));
	writeOpenSuite(path.join(root, 'cases'), NAMES);
	fs.mkdirSync(path.join(root, 'guarded'));
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

async function run(mode: string, more: Partial<RunOptions> = {}): Promise<RunOutcome> {
	const suite = loadSuite(path.join(root, 'cases'));
	return await runSuite({
		suite,
		cases: suite.cases,
		command: `"${process.execPath}" "${HOSTILE}" ${mode}`,
		jobs: 1,
		limits: { timeout: 1500, startTimeout: 20_000, memory: 400 * 2 ** 20 },
		isolation: 'hashes',
		...more,
	});
}

/** Ids of failed cases, and the message of the first. */
function failures({ results }: RunOutcome): { readonly ids: readonly string[]; readonly message: string } {
	const failed = results.filter((r) => r.status !== 'passed');
	return { ids: failed.map((r) => r.id), message: failed[0]?.message ?? '' };
}

const EVIL = ['L0/open/evil-1', 'L0/open/evil-2'];

describe('a hostile subject fails its own case and no other', () => {
	it.each([
		['hang', /^timeout: no answer within 1.5 s/],
		['garbage', /^protocol: a line that is no JSON/],
		['noise', /^output: more than 64 lines/],
		['not-an-object', /^protocol: an answer with id undefined/],
		['flood', /^output: (line too long|too much output)/],
		['flood-stderr', /^output: more than 256 MiB on standard error|^timeout/],
		['half-line', /^crash: it ended with exit code 3 in the middle of a line \(\d+ bytes/],
		['die', /^crash: it ended with exit code 7/],
		['wrong-id', /^protocol: an answer with id \d+ to the request with id \d+/],
		['memory', /^memory: \d+ MiB resident, the limit is 400 MiB|^timeout/],
		['fork', /^timeout/],
		['deep-json', /^protocol/],
		['proto', /tensors are missing|not in the file/],
	])('%s', async (mode, message) => {
		const outcome = await run(mode);
		const failed = failures(outcome);
		expect(failed.ids).toEqual(EVIL);
		expect(failed.message).toMatch(message);
	});

	it("dying after the answer is nobody's fault", async () => {
		expect(failures(await run('die-after')).ids).toEqual([]);
	});

	it('an answer too many counts for nothing', async () => {
		expect(failures(await run('two-answers')).ids).toEqual([]);
	});
});

describe('nothing is left behind', () => {
	it('children that left the process group are ended', async () => {
		const before = sleepers();
		await run('fork');
		expect(sleepers()).toBe(before);
	});

	it('temporary folders are removed', async () => {
		// A place of its own: other test files make and remove theirs in the common one meanwhile.
		const own = fs.mkdtempSync(path.join(root, 'tmp-'));
		vi.stubEnv('TMPDIR', own);
		try {
			expect(os.tmpdir()).toBe(own);
			expect(failures(await run('die')).ids).toEqual(EVIL);
			expect(fs.readdirSync(own)).toEqual([]);
		} finally {
			vi.unstubAllEnvs();
		}
	});
});

function sleepers(): number {
	return execFileSync('ps', ['-eo', 'args'], { encoding: 'utf8' })
		.split('\n')
		.filter((l) => l.trim() === 'sleep 300').length;
}

describe('writes outside the case folder', () => {
	it.each(['write-beside', 'change-input'])('%s is failed', async (mode) => {
		const failed = failures(await run(mode));
		expect(failed.ids).toEqual(EVIL);
		expect(failed.message).toMatch(/^it wrote outside its folder: /);
	});

	it('into a guarded folder', async () => {
		const guarded = path.join(root, 'guarded');
		const failed = failures(await run(`write-argument "${guarded}"`, { guards: [guarded] }));
		expect(failed.ids).toEqual(EVIL);
	});

	it.each(['remove-inputs', 'remove-slot'])('%s is failed, and harms no other case', async (mode) => {
		const failed = failures(await run(mode));
		expect(failed.ids).toEqual(EVIL);
		expect(failed.message).toMatch(/^it wrote outside its folder: inputs/);
	});

	it("removing one's own case folder harms nobody", async () => {
		expect(failures(await run('remove-own-folder')).ids).toEqual([]);
	});

	it('does not change what the next case gets', async () => {
		const outcome = await run('change-all-inputs', { cases: loadSuite(path.join(root, 'cases')).cases });
		expect(failures(outcome).ids).toEqual(EVIL);
	});

	it('is blamed on the right cases with several workers', async () => {
		const failed = failures(await run('write-beside', { jobs: 4 }));
		expect(failed.ids).toEqual(EVIL);
	});
});

describe('a subject that removes the suite', () => {
	/** A suite of its own, to be lost. */
	function lost(): string {
		const dir = fs.mkdtempSync(path.join(root, 'lost-'));
		writeOpenSuite(dir, NAMES);
		return dir;
	}

	it.each([1, 4])('ends the run with one error that says what is gone (%d workers)', async (jobs) => {
		const dir = lost();
		const suite = loadSuite(dir);
		const ended = run(`remove-argument "${dir}"`, { suite, cases: suite.cases, jobs });
		await expect(ended).rejects.toThrow(LostFilesError);
		await expect(ended).rejects.toThrow(`vanished or was replaced during the run: ${dir}/files/`);
		await expect(ended).rejects.toThrow('"L0/open/evil-1"');
	});

	it('an expectation that is gone is no verdict', async () => {
		const dir = lost();
		const entry = loadSuite(dir).cases.find((c) => c.id === 'L0/open/evil-1');
		const wanted = path.join(dir, 'files/expected.safetensors');
		fs.writeFileSync(wanted, '');
		const suite = { ...loadSuite(dir), cases: [{ ...entry, expect: { file: 'files/expected.safetensors' } } as Case] };
		await expect(run(`remove-argument "${wanted}"`, { suite, cases: suite.cases })).rejects.toThrow(`run: ${wanted} (ENOENT)`);
	});

	it('the program says it in one line, with exit code 2', async () => {
		const dir = lost();
		const command = `"${process.execPath}" "${HOSTILE}" remove-argument "${dir}"`;
		const said: string[] = [];
		const code = await main(['run', '--subject', command, '--suite', dir, '--isolation', 'hashes', '-q'], {
			out: (text) => said.push(text),
			err: (text) => said.push(text),
			interactive: false,
		});
		expect(code).toBe(2);
		expect(said.join('')).toMatch(/^lora-conformance: A file that the runner needs vanished [^\n]*\n$/);
	});
});

describe('a subject that does not work at all', () => {
	it.each([
		['no-start', /did not start: it ended with exit code 1/],
		['bad-start', /did not start: .*version/],
	])('%s', async (mode, message) => {
		await expect(run(mode)).rejects.toThrow(message);
		await expect(run(mode)).rejects.toThrow(SubjectError);
	});

	it('that dies at every case is not asked for ever', async () => {
		const { results } = await run('always-die');
		expect(results.map((r) => r.status)).toEqual(NAMES.map(() => 'failed'));
		expect(results.at(-1)?.message).toMatch(/not asked/);
	});

	it('a command that is not there', async () => {
		await expect(run('', { command: '/nonexistent/program' })).rejects.toThrow(SubjectError);
	});
});

describe('the same results', () => {
	it('with one worker and with eight', async () => {
		const [one, eight] = [await run('garbage'), await run('garbage', { jobs: 8 })];
		const texts = [one, eight].map(({ results }) => JSON.stringify(results).replace(/id \d+/g, 'id N'));
		expect(texts[0]).toBe(texts[1]);
	});
});
