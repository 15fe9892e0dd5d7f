import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';

/**
 * What a stranger gets: `npm pack` of each package, installed into an empty project; the README's example runs; the
 * types resolve (attw) and the manifest is sound (publint).
 */
const ROOT = path.resolve(import.meta.dirname, '../..');
const FIXTURE = path.join(ROOT, 'fixtures/adapters/cloneofsimo/legacy_nonzip_r1.pt');
let project: string;
const tarballs: string[] = [];

function run(command: string, args: readonly string[], cwd: string): string {
	return execFileSync(command, args, { cwd, encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'], env: { ...process.env, NO_COLOR: '1' } });
}

beforeAll(() => {
	project = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-pack-'));
	for (const name of ['format', 'cli']) {
		const out: unknown = JSON.parse(run('npm', ['pack', '--json', '--pack-destination', project], path.join(ROOT, 'packages', name)));
		const [{ filename }] = out as [{ filename: string }];
		tarballs.push(path.join(project, filename));
	}
	fs.writeFileSync(path.join(project, 'package.json'), JSON.stringify({ name: 'empty', private: true, type: 'module' }));
	run('npm', ['install', '--no-audit', '--no-fund', ...tarballs], project);
});

afterAll(() => fs.rmSync(project, { recursive: true, force: true }));

/** First fenced block of a language in a package's README. */
function example(name: string, language: string): string {
	const readme = fs.readFileSync(path.join(ROOT, 'packages', name, 'README.md'), 'utf8');
	const block = new RegExp(`\`\`\`${language}\n([\\s\\S]*?)\`\`\``).exec(readme)?.[1];
	if (block === undefined) throw new Error(`packages/${name}/README.md has no ${language} example`);
	return block;
}

describe('installed into an empty project', () => {
	test("the format README's example runs", () => {
		fs.copyFileSync(FIXTURE, path.join(project, 'lora.pt'));
		fs.writeFileSync(path.join(project, 'example.mjs'), example('format', 'js'));
		const out = run(process.execPath, ['example.mjs'], project);
		expect(out).toContain('cloneofsimo-list');
		expect(out).toContain('288');
		expect(fs.existsSync(path.join(project, 'lora.safetensors'))).toBe(true);
	});

	test("the CLI README's example runs", () => {
		fs.copyFileSync(FIXTURE, path.join(project, 'in.pt'));
		const script = example('cli', 'sh').replaceAll('npx ', 'node_modules/.bin/');
		const out = run('bash', ['-euc', script], project);
		expect(out).toContain('Stable Diffusion');
		expect(fs.existsSync(path.join(project, 'out.safetensors'))).toBe(true);
	});

	test.each(['format', 'cli'])('publint finds nothing wrong in %s', (name) => {
		run(path.join(ROOT, 'node_modules/.bin/publint'), ['--strict', path.join(ROOT, 'packages', name)], ROOT);
	});

	test('the types of format resolve', () => {
		const [tarball] = tarballs;
		run(path.join(ROOT, 'node_modules/.bin/attw'), [tarball ?? '', '--profile', 'esm-only'], ROOT);
	});
});
