import { spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, expect, it } from 'vitest';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const SCRIPT = path.join(ROOT, 'conformance/scripts/sync-version.mjs');
const FILES = [
	'conformance/action.yml',
	'conformance/templates/reusable-workflow.yml',
	'.github/workflows/lora-conformance.yml',
	'conformance/PROTOCOL.md',
	'conformance/cases/manifest.json',
	'conformance/generate/provenance.json',
];

let dir = '';
beforeAll(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sync-version-'));
	for (const file of FILES) {
		fs.mkdirSync(path.dirname(path.join(dir, file)), { recursive: true });
		fs.copyFileSync(path.join(ROOT, file), path.join(dir, file));
	}
	fs.writeFileSync(path.join(dir, 'conformance/package.json'), '{"version": "9.8.7"}');
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

const sync = (...args: readonly string[]) => spawnSync(process.execPath, [SCRIPT, ...args], { encoding: 'utf8' });
const read = (file: string): string => fs.readFileSync(path.join(dir, file), 'utf8');

it('this checkout says one version everywhere', () => {
	expect(sync('--check').stdout).toBe('');
	expect(sync('--check').status).toBe(0);
});

it('a new version goes into every file, and nothing else changes', () => {
	expect(sync('--root', dir, '--check').status).toBe(1);
	const { status, stdout } = sync('--root', dir);
	expect(stdout).toBe(`set to 9.8.7: ${FILES.join(', ')}\n`);
	expect(status).toBe(0);
	for (const file of FILES) {
		const before = fs.readFileSync(path.join(ROOT, file), 'utf8').split('\n');
		const now = read(file).split('\n');
		const changed = now.filter((line, i) => line !== before[i]);
		// The provenance also has the manifest's hash.
		expect(changed, file).toHaveLength(file.endsWith('provenance.json') ? 2 : 1);
		expect(changed[0]).toContain('"9.8.7"');
		expect(now).toHaveLength(before.length);
	}
	const hash = createHash('sha256').update(read('conformance/cases/manifest.json')).digest('hex');
	expect(read('conformance/generate/provenance.json')).toContain(`"manifest.json": "${hash}"`);
	expect(sync('--root', dir, '--check').status).toBe(0);
});

it('a file that has no such place any more is an error', () => {
	fs.writeFileSync(path.join(dir, 'conformance/PROTOCOL.md'), 'another page');
	const { status, stderr } = sync('--root', dir);
	expect(status).toBe(1);
	expect(stderr).toContain('conformance/PROTOCOL.md');
});
