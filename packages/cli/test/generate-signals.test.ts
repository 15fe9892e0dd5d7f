import { spawn } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { decode } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { FIXTURES, freshFolders, LORA, startLora } from './cli.js';

const BASE = path.join(FIXTURES, 'runtime/tiny-shapes');
const folder = freshFolders();

describe('lora generate, told to end by a signal,', () => {
	it.each([
		['SIGINT', 130],
		['SIGTERM', 143],
	] as const)('by %s in the middle of a step is gone at once, which a shell calls %i, and leaves no file', async (signal, status) => {
		const dir = folder();
		// A step of this size keeps the thread for 10 to 30 s; there are 50.
		const args = [...['generate', '--base', BASE, '--prompt', 'a red circle', '--steps', '50'], ...['--size', '1024x1024', '--seed', '1']];
		const child = spawn(
			'/bin/bash',
			['-c', '"$0" "$@" & echo $!; wait $!; echo $?', process.execPath, LORA, ...args, '--out', path.join(dir, 'x.png')],
			{ stdio: ['ignore', 'pipe', 'pipe'] },
		);
		const told = listen(child);
		expect(await until(() => told.out.includes('\n'))).toBe(true);
		const pid = Number(told.out);
		expect(await until(() => unheard(pid, signal))).toBe(true);
		// The model is loaded in less, and a step takes more.
		await new Promise((resolve) => setTimeout(resolve, 3000));
		process.kill(pid, signal);
		await told.ended;
		expect([told.out, told.err]).toEqual([`${pid}\n${status}\n`, '']);
		expect(fs.readdirSync(dir)).toEqual([]);
	});

	it('while pictures are written leaves whole ones and nothing else', async () => {
		for (const pictures of [1, 3]) {
			const dir = folder();
			const child = startLora([
				...['generate', '--base', BASE, '--prompt', 'a red ring', '--steps', '1', '--seed', '1'],
				...['--num', '1000', '--out', dir],
			]);
			const told = listen(child);
			expect(await until(() => fs.readdirSync(dir).length >= pictures)).toBe(true);
			child.kill('SIGINT');
			const [code, killed] = await told.ended;
			// While a picture is written there is somebody to say it.
			if (killed === null) expect([code, told.err]).toEqual([130, 'E_INTERRUPTED: stopped by SIGINT; no half-written file is left.\n']);
			else expect([killed, told.err]).toEqual(['SIGINT', '']);
			const files = fs.readdirSync(dir);
			expect(files.sort()).toEqual(files.map((_, i) => `picture-${i + 1}.png`).sort());
			for (const file of files) expect(decode(fs.readFileSync(path.join(dir, file))).data.length).toBe(64 * 64 * 3);
		}
	});
});

function listen(child: ReturnType<typeof spawn>) {
	const told = {
		out: '',
		err: '',
		ended: new Promise<readonly [number | null, string | null]>((resolve) => child.on('close', (code, signal) => resolve([code, signal]))),
	};
	child.stdout?.on('data', (chunk: Buffer) => {
		told.out += chunk.toString('utf8');
	});
	child.stderr?.on('data', (chunk: Buffer) => {
		told.err += chunk.toString('utf8');
	});
	return told;
}

/** Whether a process had a handler for a signal and has none now. Systems without /proc tell nothing: after 4 s it is taken to be so. */
const heard = new Map<number, number>();
function unheard(pid: number, signal: 'SIGINT' | 'SIGTERM'): boolean {
	const status = `/proc/${pid}/status`;
	if (!fs.existsSync('/proc/self/status')) {
		if (!heard.has(pid)) heard.set(pid, Date.now());
		return Date.now() - (heard.get(pid) ?? 0) > 4000;
	}
	const mask = /^SigCgt:\s*([0-9a-f]+)$/m.exec(fs.readFileSync(status, 'utf8'))?.[1] ?? '0';
	const handled = ((BigInt(`0x${mask}`) >> BigInt(os.constants.signals[signal] - 1)) & 1n) === 1n;
	if (handled) heard.set(pid, Date.now());
	return heard.has(pid) && !handled;
}

async function until(condition: () => boolean): Promise<boolean> {
	const end = Date.now() + 60_000;
	while (Date.now() < end) {
		if (condition()) return true;
		await new Promise((resolve) => setTimeout(resolve, 5));
	}
	return false;
}
