import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { bundleIo } from './bundle.js';
import { tempDir } from './temp-dir.js';

let home = '';
let script = '';

/** Writes argv[2] with 64 pieces of 64 KiB, all bytes argv[4], waiting argv[3] ms between them; prints a code on refusal. */
const WRITER = `
import { cleanupTempFiles, writeFileAtomic } from './io.mjs';
const [target, pause, byte, force] = process.argv.slice(2);
for (const [name, code] of [['SIGINT', 130], ['SIGTERM', 143]]) process.on(name, () => { cleanupTempFiles(); process.exit(code); });
try {
	await writeFileAtomic(target, async (sink) => {
		for (let i = 0; i < 64; i++) {
			await sink.write(new Uint8Array(65536).fill(Number(byte)));
			if (i === 8) process.stdout.write('writing\\n');
			if (Number(pause) > 0) await new Promise((resolve) => setTimeout(resolve, Number(pause)));
			else if (pause === 'busy') for (const end = Date.now() + 30; Date.now() < end; );
		}
	}, { force: force === 'force' });
} catch (error) {
	process.stdout.write(String(error.code));
	process.exitCode = 1;
}
`;

const READER = `
import { openSource, openStdin } from './io.mjs';
try {
	const limit = process.argv[2];
	const source = await (limit === undefined ? openSource('-') : openStdin(Number(limit)));
	const bytes = await source.read(0, source.size);
	process.stdout.write(source.remote + ' ' + source.size + ' ' + Buffer.from(bytes.subarray(0, 5)).toString());
} catch (error) {
	process.stdout.write(error.code + ' ' + error.message);
}
`;

const STDOUT = `
import { writeStdout } from './io.mjs';
try {
	await writeStdout(async (sink) => {
		for (let i = 0; i < 100; i++) await sink.write(new Uint8Array(100_000).fill(i));
		await sink.patch(0, Uint8Array.of(7, 7));
		if (process.argv[2] === 'fail') throw Object.assign(new Error('no'), { code: 'E_X' });
	});
} catch (error) {
	process.stderr.write(error.code + ' ' + (error.cause?.code ?? ''));
}
`;

beforeAll(async () => {
	home = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-child-'));
	await bundleIo(home);
	script = path.join(home, 'writer.mjs');
	fs.writeFileSync(script, WRITER);
	fs.writeFileSync(path.join(home, 'reader.mjs'), READER);
	fs.writeFileSync(path.join(home, 'stdout.mjs'), STDOUT);
});

afterAll(() => fs.rmSync(home, { recursive: true, force: true }));

const SIZE = 64 * 65_536;

function start(...args: readonly string[]): ChildProcess {
	return spawn(process.execPath, [script, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
}

/** Waits until the child is in the middle of its writing. */
function writing(child: ChildProcess): Promise<void> {
	return new Promise((resolve) => child.stdout?.once('data', () => resolve()));
}

function ended(child: ChildProcess): Promise<{ code: number | null; signal: string | null }> {
	return new Promise((resolve) => child.once('exit', (code, signal) => resolve({ code, signal })));
}

describe.skipIf(process.platform === 'win32')('processes', () => {
	it('killed in the middle: the old file is whole, and the next run works', async () => {
		const dir = tempDir();
		const target = path.join(dir, 'out');
		fs.writeFileSync(target, 'old');
		const child = start(target, '5', '1', 'force');
		await writing(child);
		child.kill('SIGKILL');
		expect((await ended(child)).signal).toBe('SIGKILL');
		expect(fs.readFileSync(target, 'utf8')).toBe('old');
		expect(fs.readdirSync(dir).filter((name) => name !== 'out')).toEqual([expect.stringMatching(/^\.out\.[a-z0-9]+\.tmp$/)]);
		expect((await ended(start(target, '0', '2', 'force'))).code).toBe(0);
		expect(fs.statSync(target).size).toBe(SIZE);
	});

	it.each([
		['SIGINT', 130, '5'],
		['SIGTERM', 143, '5'],
		['SIGINT', 130, 'busy'],
	] as const)('%s ends with %i (pause %s), takes the temporary file away, and is heard soon', async (signal, code, pause) => {
		const dir = tempDir();
		const target = path.join(dir, 'out');
		fs.writeFileSync(target, 'old');
		const child = start(target, pause, '1', 'force');
		await writing(child);
		const sent = performance.now();
		child.kill(signal);
		expect(await ended(child)).toEqual({ code, signal: null });
		expect(performance.now() - sent).toBeLessThan(1000);
		expect([fs.readFileSync(target, 'utf8'), fs.readdirSync(dir)]).toEqual(['old', ['out']]);
	});

	it('four writers at once with force: one whole file, nobody fails', async () => {
		const dir = tempDir();
		const target = path.join(dir, 'out');
		const ends = await Promise.all([1, 2, 3, 4].map((byte) => ended(start(target, '1', String(byte), 'force'))));
		expect(ends.map((e) => e.code)).toEqual([0, 0, 0, 0]);
		const bytes = fs.readFileSync(target);
		expect(bytes.byteLength).toBe(SIZE);
		expect(bytes.every((b) => b === bytes[0])).toBe(true);
		expect(fs.readdirSync(dir)).toEqual(['out']);
	});

	it('four writers at once without force: exactly one writes', async () => {
		const dir = tempDir();
		const target = path.join(dir, 'out');
		const children = [1, 2, 3, 4].map((byte) => start(target, '1', String(byte)));
		const ends = await Promise.all(children.map(ended));
		expect(ends.map((e) => e.code).sort()).toEqual([0, 1, 1, 1]);
		const winner = ends.findIndex((e) => e.code === 0) + 1;
		const bytes = fs.readFileSync(target);
		expect(bytes.byteLength).toBe(SIZE);
		expect(bytes.every((b) => b === winner)).toBe(true);
		expect(fs.readdirSync(dir)).toEqual(['out']);
	});

	it('respects a limit on file sizes', () => {
		const dir = tempDir();
		fs.writeFileSync(path.join(dir, 'out'), 'old');
		const run = spawnSync('bash', ['-c', `ulimit -f 64; exec "${process.execPath}" "${script}" "${dir}/out" 0 1 force`], {
			encoding: 'utf8',
		});
		expect(run.stdout).toMatch(/E_NO_SPACE$/);
		expect([fs.readFileSync(path.join(dir, 'out'), 'utf8'), fs.readdirSync(dir)]).toEqual(['old', ['out']]);
	});

	it('reads standard input from a pipe and, by ranges, from a file', () => {
		const file = path.join(tempDir(), 'in');
		fs.writeFileSync(file, 'hello world');
		const reader = path.join(home, 'reader.mjs');
		const shell = (command: string) => spawnSync('bash', ['-c', command, process.execPath, reader, file], { encoding: 'utf8' }).stdout;
		expect(shell('cat "$2" | "$0" "$1"')).toBe('false 11 hello');
		expect(shell('"$0" "$1" < "$2"')).toBe('false 11 hello');
		expect(shell('"$0" "$1" < /dev/null')).toBe('false 0 ');
		expect(shell('"$0" "$1" < /')).toMatch(/^E_NOT_A_FILE/);
		expect(shell('head -c 100000 /dev/zero | "$0" "$1" 99999')).toMatch(/^E_LIMIT Standard input gives more than 99999 bytes/);
	});

	it('writes standard output whole or not at all', () => {
		const out = path.join(home, 'stdout.mjs');
		const whole = spawnSync(process.execPath, [out], { maxBuffer: 20_000_000 });
		expect([whole.stdout.byteLength, whole.stdout[0], whole.stdout[1], whole.stdout[2], whole.stdout.at(-1)]).toEqual([
			10_000_000, 7, 7, 0, 99,
		]);
		const failed = spawnSync(process.execPath, [out, 'fail'], { encoding: 'utf8' });
		expect([failed.stdout, failed.stderr]).toEqual(['', 'E_X ']);
		const shell = (command: string) => spawnSync('bash', ['-c', command, process.execPath, out], { encoding: 'utf8' }).stderr;
		expect(shell('"$0" "$1" | head -c 1 > /dev/null')).toBe('E_IO EPIPE');
		expect(shell('"$0" "$1" > /dev/full')).toBe('E_NO_SPACE ENOSPC');
	});
});
