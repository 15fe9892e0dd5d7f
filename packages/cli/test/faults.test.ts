import { spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { beforeAll, describe, expect, it } from 'vitest';
import { f32, kohyaFile, LORA, lora, PACKAGE, readSafetensors, safetensors, startLora, type TestTensor, tempFolder } from './cli.js';

// The important cases of the project's fault list, so that they run where its Python runner is not.
const top = tempFolder();
let n = 0;
function fresh(): { folder: string; input: string; out: string } {
	const folder = path.join(top, String(n++));
	fs.mkdirSync(folder);
	const input = path.join(top, 'good.safetensors');
	if (!fs.existsSync(input)) fs.writeFileSync(input, kohyaFile());
	return { folder, input, out: path.join(folder, 'out.safetensors') };
}

const slow = path.join(top, 'slow.safetensors');
const OLD = 'OLD'.repeat(100);

beforeAll(() => {
	const big: TestTensor = f32([4096, 1024], (i) => (i % 977) / 65536);
	const tensors: Record<string, TestTensor> = {};
	for (let i = 0; i < 8; i++) tensors[`t${i}`] = big;
	fs.writeFileSync(slow, safetensors(tensors));
});

function isComplete(file: string): boolean {
	const { tensors, data } = readSafetensors(fs.readFileSync(file));
	return [...tensors.values()].reduce((sum, t) => sum + t.data.byteLength, 0) === data.byteLength;
}

const NO_STACK = /\n\s+at |node:internal|EPIPE/;

describe('faults', () => {
	it.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)('%s while writing leaves the old file or the new one, whole', async (signal) => {
		const { folder, input, out } = fresh();
		for (const delay of [40, 80, 120, 160, 200, 260, 320]) {
			fs.writeFileSync(out, OLD);
			const child = startLora(['convert', slow, out, '--to', 'keep', '--force']);
			const done = new Promise<number | null>((resolve) => child.on('close', resolve));
			await new Promise((resolve) => setTimeout(resolve, delay));
			child.kill(signal);
			const code = await done;
			if (signal === 'SIGINT') expect([0, 130, null]).toContain(code);
			if (signal === 'SIGTERM') expect([0, 143, null]).toContain(code);
			const text = fs.readFileSync(out);
			if (text.byteLength !== OLD.length) expect(isComplete(out)).toBe(true);
			if (signal !== 'SIGKILL') expect(fs.readdirSync(folder)).toEqual(['out.safetensors']);
		}
		expect(lora(['convert', input, out, '--to', 'keep', '--force']).code).toBe(0);
		expect(isComplete(out)).toBe(true);
	});

	it('a signal once the work has begun gives 130 and 143', async () => {
		for (const [signal, code] of [
			['SIGINT', 130],
			['SIGTERM', 143],
		] as const) {
			const { folder, out } = fresh();
			const child = startLora(['convert', slow, out, '--to', 'keep']);
			const done = new Promise<number | null>((resolve) => child.on('close', resolve));
			const begun = await until(() => fs.readdirSync(folder).length > 0);
			child.kill(signal);
			const got = await done;
			// It may have been done first.
			if (begun && !fs.existsSync(out)) {
				expect(got).toBe(code);
				expect(fs.readdirSync(folder)).toEqual([]);
			}
		}
	});

	it('a reader of standard output that leaves is no error', () => {
		const command = `"${process.execPath}" "${LORA}" explain | head -c 1; "${process.execPath}" "${LORA}" inspect --json "${slow}" | head -c 1`;
		const { stderr } = spawnSync('/bin/bash', ['-c', command], { encoding: 'utf8' });
		expect(stderr).not.toMatch(NO_STACK);
		expect(stderr).not.toContain('E_IO');
	});

	it('a full standard output is one line, and the output file is there', () => {
		if (!fs.existsSync('/dev/full')) return;
		const { input, out } = fresh();
		const { status, stderr } = spawnSync('/bin/bash', ['-c', `"${process.execPath}" "${LORA}" convert "${input}" "${out}" > /dev/full`], {
			encoding: 'utf8',
		});
		expect(status).toBe(1);
		expect(stderr).toMatch(/^E_IO: Standard output[^\n]*\n$/m);
		expect(isComplete(out)).toBe(true);
		const closed = spawnSync('/bin/bash', ['-c', `"${process.execPath}" "${LORA}" convert "${input}" "${out}" --force >&-`], {
			encoding: 'utf8',
		});
		expect(closed.stderr).not.toMatch(NO_STACK);
		expect(isComplete(out)).toBe(true);
	});

	it('a limit on file sizes leaves the old file', () => {
		const { folder, out } = fresh();
		fs.writeFileSync(out, OLD);
		const command = `trap '' XFSZ; ulimit -f 64; exec "${process.execPath}" "${LORA}" convert "${slow}" "${out}" --to keep --force`;
		const { status, stderr } = spawnSync('/bin/bash', ['-c', command], { encoding: 'utf8' });
		expect(status).toBe(1);
		expect(stderr).toMatch(/^E_NO_SPACE: /);
		expect(fs.readFileSync(out, 'utf8')).toBe(OLD);
		expect(fs.readdirSync(folder)).toEqual(['out.safetensors']);
	});

	it('the input is never the output, by path, hard link or symbolic link', () => {
		const { folder, input } = fresh();
		const bytes = fs.readFileSync(input);
		const copy = path.join(folder, 'in.safetensors');
		const hard = path.join(folder, 'hard.safetensors');
		const soft = path.join(folder, 'soft.safetensors');
		fs.copyFileSync(input, copy);
		fs.linkSync(copy, hard);
		fs.symlinkSync(copy, soft);
		for (const out of [copy, hard, soft]) {
			const { code, err } = lora(['convert', copy, out, '--force']);
			expect(code).toBe(1);
			expect(err).toMatch(/^E_OUTPUT_IS_INPUT: /);
			expect(fs.readFileSync(copy).equals(bytes)).toBe(true);
		}
		expect(fs.readdirSync(folder)).toHaveLength(3);
	});

	it('a link to another file is written through', () => {
		const { folder, input } = fresh();
		const real = path.join(folder, 'real.safetensors');
		const link = path.join(folder, 'link.safetensors');
		fs.writeFileSync(real, OLD);
		fs.symlinkSync(real, link);
		expect(lora(['convert', input, link, '--force']).code).toBe(0);
		expect(fs.lstatSync(link).isSymbolicLink()).toBe(true);
		expect(isComplete(real)).toBe(true);
	});

	it('two writers give one whole file', async () => {
		const { folder, out } = fresh();
		const codes = await Promise.all(
			Array.from({ length: 3 }, () => {
				const child = startLora(['convert', slow, out, '--to', 'keep', '--force']);
				return new Promise<number | null>((resolve) => child.on('close', resolve));
			}),
		);
		expect(codes).toContain(0);
		expect(isComplete(out)).toBe(true);
		expect(fs.readdirSync(folder)).toEqual(['out.safetensors']);
	});

	it('an input that is cut while it is read gives no output', async () => {
		for (const delay of [60, 120, 180]) {
			const { folder, out } = fresh();
			const input = path.join(folder, 'in.safetensors');
			fs.copyFileSync(slow, input);
			const child = startLora(['convert', input, out, '--to', 'keep']);
			const done = new Promise<number | null>((resolve) => child.on('close', resolve));
			await new Promise((resolve) => setTimeout(resolve, delay));
			fs.truncateSync(input, Math.floor(fs.statSync(slow).size / 3));
			const code = await done;
			expect([0, 1]).toContain(code);
			if (code === 0) expect(isComplete(out)).toBe(true);
			else expect(fs.readdirSync(folder)).toEqual(['in.safetensors']);
		}
	});

	it.each([
		['a missing input', (f: string) => path.join(f, 'nope.pt'), 'E_IO'],
		['a folder', (f: string) => f, 'E_NOT_A_FILE'],
		[
			'a named pipe',
			(f: string) => {
				spawnSync('mkfifo', [path.join(f, 'p.pt')]);
				return path.join(f, 'p.pt');
			},
			'E_NOT_A_FILE',
		],
		['a device', () => '/dev/zero', 'E_NOT_A_FILE'],
	])('%s is refused in one line', (_what, make, code) => {
		const { folder, out } = fresh();
		const inner = path.join(folder, 'x');
		fs.mkdirSync(inner);
		const { code: status, err } = lora(['convert', make(inner), out]);
		expect(status).toBe(1);
		expect(err).toMatch(new RegExp(`^${code}: [^\\n]+\\n$`));
		expect(fs.readdirSync(folder)).toEqual(['x']);
	});

	it('an output that cannot be is refused in one line', () => {
		const { folder, input } = fresh();
		const missing = lora(['convert', input, path.join(folder, 'no/such/out.safetensors')]);
		expect(missing.code).toBe(1);
		expect(missing.err).toMatch(/^E_IO: .*does not exist[^\n]*\n$/);
		fs.mkdirSync(path.join(folder, 'dir.safetensors'));
		expect(lora(['convert', input, path.join(folder, 'dir.safetensors'), '--force']).err).toMatch(/^E_IO: .*is a folder/);
		expect(fs.readdirSync(folder)).toEqual(['dir.safetensors']);
	});

	it('odd names are names', () => {
		const { folder, input } = fresh();
		const odd = path.join(folder, 'o u\u0301t;$(touch pwn)-\u6a21.safetensors');
		expect(lora(['convert', input, odd], { cwd: folder }).code).toBe(0);
		expect(isComplete(odd)).toBe(true);
		expect(fs.readdirSync(folder)).toHaveLength(1);
	});

	it('a stack is only shown on demand', () => {
		expect(lora(['inspect', path.join(top, 'none')]).err).not.toMatch(NO_STACK);
		expect(lora(['inspect', path.join(top, 'none')], { env: { LORAKIT_DEBUG: '1' } }).err).toMatch(/\n\s+at /);
		expect(fs.existsSync(path.join(PACKAGE, 'dist'))).toBe(true);
	});
});

async function until(condition: () => boolean): Promise<boolean> {
	const end = Date.now() + 5000;
	while (Date.now() < end) {
		if (condition()) return true;
		await new Promise((resolve) => setTimeout(resolve, 2));
	}
	return false;
}
