import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { writeMiniSuite } from './support/mini-suite.js';

const at = (relative: string): string => fileURLToPath(new URL(relative, import.meta.url));
const PROGRAM = at('../bin/lora-conformance.js');

let dir = '';
let json = '';
const started: ChildProcess[] = [];
beforeAll(() => {
	dir = fs.mkdtempSync(path.join(os.tmpdir(), 'serve-test-'));
	json = path.join(dir, 'report.json');
	writeMiniSuite(path.join(dir, 'suite'));
	const subject = `"${process.execPath}" "${at('../mutants/subject.mjs')}" --fault sign-flipped`;
	spawnSync(process.execPath, [
		PROGRAM,
		'run',
		'--subject',
		subject,
		'--suite',
		path.join(dir, 'suite'),
		'--filter',
		'L2/**',
		'--json',
		json,
	]);
});
afterAll(() => {
	for (const child of started) child.kill('SIGKILL');
	fs.rmSync(dir, { recursive: true, force: true });
});

async function serve(...more: readonly string[]): Promise<{ readonly child: ChildProcess; readonly url: string }> {
	const child = spawn(process.execPath, [PROGRAM, 'serve-report', json, ...more], { stdio: ['ignore', 'pipe', 'inherit'] });
	started.push(child);
	const url = await new Promise<string>((done, refuse) => {
		child.stdout?.once('data', (chunk: Buffer) => done(chunk.toString().trim()));
		child.once('exit', (code) => refuse(new Error(`ended with ${code}`)));
	});
	return { child, url };
}

async function end(child: ChildProcess, signal: NodeJS.Signals): Promise<number | null> {
	const code = new Promise<number | null>((done) => child.once('exit', done));
	child.kill(signal);
	return await code;
}

describe('serve-report', () => {
	it('shows the report on this machine only, anew with each reload, until it is told to end', async () => {
		const { child, url } = await serve();
		expect(url).toMatch(/^http:\/\/127\.0\.0\.1:\d+\/$/);
		const first = await fetch(url);
		expect(first.status).toBe(200);
		expect(first.headers.get('content-type')).toBe('text/html; charset=utf-8');
		expect(first.headers.get('content-security-policy')).toContain("default-src 'none'");
		const text = await first.text();
		expect(text).toContain('mutant sign-flipped');
		const right = fs.readFileSync(json, 'utf8');
		fs.writeFileSync(json, right.replaceAll('mutant sign-flipped', 'another &amp; <i>runtime</i>'));
		expect(await (await fetch(url)).text()).toContain('another &amp;amp; &lt;i&gt;runtime');
		fs.writeFileSync(json, right.slice(0, 100));
		const broken = await fetch(url);
		expect([broken.status, broken.headers.get('content-type')]).toEqual([500, 'text/plain; charset=utf-8']);
		expect(await broken.text()).toContain('cannot be read as JSON');
		fs.writeFileSync(json, right);
		expect((await fetch(url)).status).toBe(200);
		expect(await end(child, 'SIGINT')).toBe(0);
		await expect(fetch(url)).rejects.toThrow();
	});

	it('a port that is taken, and what is no report, are wrong use', async () => {
		const { child, url } = await serve();
		const taken = spawnSync(process.execPath, [PROGRAM, 'serve-report', json, '--port', new URL(url).port], { encoding: 'utf8' });
		expect(taken.status).toBe(2);
		expect(taken.stderr).toMatch(/^lora-conformance: Port \d+ cannot be listened on: .*EADDRINUSE/);
		expect(await end(child, 'SIGTERM')).toBe(0);
		const other = path.join(dir, 'other.json');
		fs.writeFileSync(other, '{}');
		expect(spawnSync(process.execPath, [PROGRAM, 'serve-report', other]).status).toBe(2);
	});
});
