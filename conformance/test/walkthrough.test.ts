import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';

/** docs/conformance/walkthrough.md, step by step, in an empty folder, with the built program. */
const PAGE = fileURLToPath(new URL('../../docs/conformance/walkthrough.md', import.meta.url));
const PROGRAM = fileURLToPath(new URL('../bin/lora-conformance.js', import.meta.url));

let dir = '';
beforeAll(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'walkthrough-'));
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

function program(...args: readonly string[]): { readonly status: number | null; readonly out: string } {
	const { status, stdout, stderr } = spawnSync(process.execPath, [PROGRAM, ...args], { cwd: dir, encoding: 'utf8' });
	return { status, out: stdout + stderr };
}

describe('the walk-through', () => {
	it('1. init', () => {
		expect(program('init', '--language', 'node').status).toBe(0);
		for (const file of ['harness.mjs', 'known-failing.txt', '.github/workflows/lora-conformance.yml']) {
			expect(fs.existsSync(path.join(dir, file))).toBe(true);
		}
		expect(fs.readFileSync(path.join(dir, '.github/workflows/lora-conformance.yml'), 'utf8')).toContain("--subject 'node harness.mjs'");
		expect(program('init', '--language', 'node').status).toBe(2);
	});

	it('the skeleton answers as it is', () => {
		const { status, out } = program('run', '--subject', 'node harness.mjs', '--filter', 'L2/kohya/**');
		expect(out).toMatch(/\n0 passed, 0 failed, \d+ skipped\n$/);
		expect(status).toBe(0);
	});

	it('2. and 3. the harness of the page, first report in under a minute', () => {
		const text = fs.readFileSync(PAGE, 'utf8');
		const harness = /<!-- walkthrough: harness\.mjs -->\n```js\n([\s\S]*?)```/.exec(text)?.[1] ?? '';
		expect(harness.split('\n').length).toBeLessThan(65);
		fs.writeFileSync(path.join(dir, 'harness.mjs'), harness);
		const began = Date.now();
		const { out } = program('run', '--subject', 'node harness.mjs', '--html', 'report.html', '--json', 'report.json');
		expect(Date.now() - began).toBeLessThan(60_000);
		const [, passed] = /\n(\d+) passed, \d+ failed, \d+ skipped\n$/.exec(out) ?? [];
		expect(Number(passed)).toBeGreaterThan(15);
		expect(fs.readFileSync(path.join(dir, 'report.html'), 'utf8')).toContain('my-runtime');
	});

	it('4. known failures make it green, and a stale pattern red', () => {
		const { results } = JSON.parse(fs.readFileSync(path.join(dir, 'report.json'), 'utf8')) as {
			results: readonly { id: string; status: string }[];
		};
		const failing = results.filter((r) => r.status === 'failed').map((r) => `${r.id}  https://example.org/issues/1`);
		fs.writeFileSync(path.join(dir, 'known-failing.txt'), `# list\n${failing.join('\n')}\n`);
		const args = ['run', '--subject', 'node harness.mjs', '--level', 'L2', '--known-failing', 'known-failing.txt'];
		expect(program(...args)).toMatchObject({ status: 0 });
		fs.appendFileSync(path.join(dir, 'known-failing.txt'), 'L2/no/such-case\n');
		const stale = program(...args);
		expect(stale.status).toBe(1);
		expect(stale.out).toContain('L2/no/such-case');
	});

	it('5. repro, and its script asks again', () => {
		const { results } = JSON.parse(fs.readFileSync(path.join(dir, 'report.json'), 'utf8')) as {
			results: readonly { id: string; status: string }[];
		};
		const id = results.find((r) => r.status === 'passed')?.id ?? '';
		expect(program('repro', id, '--subject', 'node harness.mjs', '--out', 'repro').status).toBe(0);
		expect(fs.readFileSync(path.join(dir, 'repro/README.md'), 'utf8')).toContain(`# ${id}`);
		expect(fs.readFileSync(path.join(dir, 'repro/repro.py'), 'utf8').trim().split('\n').length).toBeLessThanOrEqual(12);
		const said = execFileSync('python3', ['repro/repro.py', 'node harness.mjs'], { cwd: dir, encoding: 'utf8' });
		expect(said).toContain('"ok":true');
	});
});
