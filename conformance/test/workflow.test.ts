import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeMiniSuite } from './support/mini-suite.js';

/**
 * What third parties run in CI, run here: the shell steps of the files themselves, with a stand-in for npx that starts this
 * checkout. (actionlint and GitHub's schemas were asked by hand: docs/conformance/cli.md says how.)
 */
const at = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const read = (relative: string): string => fs.readFileSync(at(relative), 'utf8');
const PROGRAM = at('../bin/lora-conformance.js');
const SUBJECT = `"${process.execPath}" "${at('../mutants/subject.mjs')}"`;
const { version } = JSON.parse(read('../package.json')) as { version: string };

let dir = '';
beforeAll(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'workflow-test-'));
	writeMiniSuite(path.join(dir, 'suite'));
	fs.mkdirSync(path.join(dir, 'bin'));
	// npx --yes lora-conformance@VERSION ARGUMENTS
	const npx = `#!/bin/sh\n[ "$1" = --yes ] || exit 64\necho "$2" > "${dir}/asked"\nshift 2\nexec "${process.execPath}" "${PROGRAM}" "$@"\n`;
	fs.writeFileSync(path.join(dir, 'bin/npx'), npx, { mode: 0o755 });
	// What `--filter L2/**` would become if the shell looked for files.
	fs.mkdirSync(path.join(dir, 'L2/none/here'), { recursive: true });
});
afterAll(() => fs.rmSync(dir, { recursive: true, force: true }));

/** The text of a block scalar behind `key: |` or `key: >-`, as YAML reads it. */
function block(yaml: string, key: string, style: '|' | '>-'): string {
	const lines = yaml.split('\n');
	const start = lines.findIndex((line) => line.trim().replace(/^- /, '') === `${key}: ${style}`);
	expect(start, `${key}: ${style}`).toBeGreaterThanOrEqual(0);
	const indent = /^ */.exec(lines[start + 1] ?? '')?.[0] ?? '';
	const end = lines.findIndex((line, i) => i > start && line !== '' && !line.startsWith(indent));
	const taken = lines.slice(start + 1, end === -1 ? undefined : end).map((line) => line.slice(indent.length));
	return style === '|' ? taken.join('\n') : taken.join(' ').trim();
}

/** As GitHub's `shell: bash` runs a step. */
function bash(
	script: string,
	env: Readonly<Record<string, string>>,
): { readonly status: number | null; readonly out: string; readonly err: string } {
	const file = path.join(dir, 'step.sh');
	fs.writeFileSync(file, script);
	const { status, stdout, stderr } = spawnSync('bash', ['--noprofile', '--norc', '-eo', 'pipefail', file], {
		cwd: dir,
		encoding: 'utf8',
		env: { ...process.env, ...env, PATH: `${path.join(dir, 'bin')}:${process.env['PATH']}` },
	});
	return { status, out: stdout, err: stderr };
}

describe('action.yml', () => {
	const action = read('../action.yml');
	const script = block(action, 'run', '|');
	const inputs = {
		SUBJECT: `${SUBJECT} --fault sign-flipped`,
		VERSION: version,
		PROFILE: '',
		LEVEL: '',
		KNOWN: '',
		MORE: '',
		OUT: 'report here',
	};

	it('writes every report, the step summary and annotations, and fails with the run', () => {
		const summary = path.join(dir, 'summary.md');
		const more = { MORE: '--suite suite --filter L2/** L3/mini/one', GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: summary };
		const { status, out, err } = bash(script, { ...inputs, ...more });
		expect(out).toMatch(/\n0 passed, 4 failed, 0 skipped\n$/);
		expect(status).toBe(1);
		expect(fs.readdirSync(path.join(dir, 'report here')).sort()).toEqual(['badge.json', 'junit.xml', 'report.html', 'report.json']);
		expect(fs.readFileSync(path.join(dir, 'asked'), 'utf8').trim()).toBe(`lora-conformance@${version}`);
		expect(fs.readFileSync(summary, 'utf8')).toMatch(/^## LoRA conformance: mutant sign-flipped 1\n\n0 passed, 4 failed, 0 skipped\./);
		expect(err.match(/^::error title=LoRA conformance L\d\/[^:\n]+::.+$/gm)).toHaveLength(4);
	});

	it('passes profile, level and list on', () => {
		fs.writeFileSync(path.join(dir, 'known.txt'), 'L2/mini/*\nno/such/case\n');
		const { status, out, err } = bash(script, {
			...inputs,
			...{ PROFILE: 'comfy', LEVEL: 'L2', KNOWN: 'known.txt', MORE: '--suite suite', GITHUB_ACTIONS: 'true', GITHUB_STEP_SUMMARY: '' },
		});
		expect(out).toMatch(/\n0 passed, 0 failed, \d+ skipped\n$/);
		expect(status).toBe(1); // the pattern that fits nothing, named in an annotation
		expect(err).toContain('::error title=LoRA conformance known-failing::the pattern fits no case: no/such/case');
		const { profile, levels } = JSON.parse(fs.readFileSync(path.join(dir, 'report here/report.json'), 'utf8')) as {
			profile: string;
			levels: readonly { level: string }[];
		};
		expect([profile, levels.at(-1)?.level]).toEqual(['comfy', 'L2']);
	});

	it('every input is declared, used, and has the default of this version', () => {
		const [head = '', body = ''] = action.split(/^outputs:$/m);
		const declared = [...(head.split(/^inputs:$/m)[1] ?? '').matchAll(/^ {2}([\w-]+):$/gm)].map((m) => m[1]);
		const used = [...new Set([...body.matchAll(/\$\{\{ inputs\.([\w-]+) \}\}/g)].map((m) => m[1]))];
		expect([...used].sort()).toEqual([...declared].sort());
		expect(action).toContain(`default: "${version}"`);
		// No input goes into the script's text: it would be code.
		expect(script).not.toContain('${{');
	});
});

describe('the workflow of init', () => {
	it('its step runs, and writes what it uploads', () => {
		const folder = path.join(dir, 'project');
		expect(spawnSync(process.execPath, [PROGRAM, 'init', folder, '--language', 'node']).status).toBe(0);
		const workflow = fs.readFileSync(path.join(folder, '.github/workflows/lora-conformance.yml'), 'utf8');
		const step = block(workflow, 'run', '>-');
		const { status, out } = bash(`cd project\n${step} --filter 'L2/kohya/**'\n`, {});
		expect(out).toMatch(/\n0 passed, 0 failed, \d+ skipped\n$/);
		expect(status).toBe(0);
		const uploaded = block(workflow, 'path', '|').trim().split('\n');
		const made = fs.readdirSync(folder).filter((name) => /^lora-/.test(name));
		expect(made).toHaveLength(4);
		const fits = (name: string): boolean =>
			uploaded.some((pattern) => (pattern.endsWith('*') ? name.startsWith(pattern.slice(0, -1)) : name === pattern));
		expect(made.filter((name) => !fits(name))).toEqual([]);
		expect(workflow).not.toContain('{{version}}');
	});
});

describe('the reusable workflow', () => {
	const workflow = read('../templates/reusable-workflow.yml');

	it('lies where others call it', () => {
		expect(read('../../.github/workflows/lora-conformance.yml')).toBe(workflow);
	});

	it('its inputs are declared and used, and the action knows what it gets', () => {
		const [head = '', jobs = ''] = workflow.split(/^permissions:$/m);
		const declared = [...head.matchAll(/^ {6}([\w-]+):$/gm)].map((m) => m[1]);
		const used = [...new Set([...jobs.matchAll(/inputs\.([\w-]+)/g)].map((m) => m[1]))];
		expect([...used].sort()).toEqual([...declared].sort());
		const [, given = ''] = /uses: lorakit\/lorakit\/conformance@v1\n {8}with:\n((?: {10}.*\n)+)/.exec(jobs) ?? [];
		const names = [...given.matchAll(/^ {10}([\w-]+):/gm)].map((m) => m[1]);
		expect(names.length).toBeGreaterThan(3);
		for (const name of names) expect(read('../action.yml')).toMatch(new RegExp(`^  ${name}:$`, 'm'));
		expect(workflow).toContain(`default: "${version}"`);
	});
});
