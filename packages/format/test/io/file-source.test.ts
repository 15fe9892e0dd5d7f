import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import net from 'node:net';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { hashFile, hashSource, openFileSource } from '../../src/io/index.js';
import { pattern, refusal, tempDir } from './temp-dir.js';

describe('openFileSource', () => {
	it('reads ranges that the caller owns', async () => {
		const file = path.join(tempDir(), 'x.bin');
		const bytes = pattern(10_000);
		fs.writeFileSync(file, bytes);
		const source = await openFileSource(file);
		expect([source.name, source.size, source.remote]).toEqual([file, 10_000, false]);
		for (const [offset, length] of [
			[0, 0],
			[0, 8],
			[9_999, 1],
			[10_000, 0],
			[17, 9_000],
		] as const) {
			const got = await source.read(offset, length);
			expect(got).toEqual(bytes.slice(offset, offset + length));
			expect(got.constructor).toBe(Uint8Array);
			got.fill(0);
		}
		expect(await source.read(0, 10_000)).toEqual(bytes);
		const target = new Uint8Array(5);
		await source.readInto(3, target);
		expect(target).toEqual(bytes.slice(3, 8));
		await source.close();
		await source.close();
		await expect(source.read(0, 1)).rejects.toThrow(TypeError);
	});

	it('refuses what ends too early', async () => {
		const file = path.join(tempDir(), 'x.bin');
		fs.writeFileSync(file, pattern(100));
		const source = await openFileSource(file);
		expect((await refusal(() => source.read(90, 11))).code).toBe('E_TRUNCATED');
		fs.truncateSync(file, 50);
		const error = await refusal(() => source.read(0, 100));
		expect([error.code, error.message]).toEqual([
			'E_TRUNCATED',
			`${file} gave 50 of 100 bytes at offset 0; it became shorter while it was read, so nothing was written.`,
		]);
		await source.close();
	});

	it('notices a file that was written to, cut, replaced; not one that was removed or only touched by chmod', async () => {
		const cases: [string, (file: string) => void, boolean][] = [
			['nothing', () => {}, false],
			['chmod', (f) => fs.chmodSync(f, 0o600), false],
			['removed', (f) => fs.unlinkSync(f), false],
			['appended', (f) => fs.appendFileSync(f, 'x'), true],
			['cut', (f) => fs.truncateSync(f, 1), true],
			['same size, other time', (f) => fs.utimesSync(f, 1, 1), true],
			[
				'replaced',
				(f) => {
					fs.writeFileSync(`${f}2`, 'abc');
					fs.renameSync(`${f}2`, f);
				},
				true,
			],
		];
		for (const [name, act, changed] of cases) {
			const file = path.join(tempDir(), 'x.bin');
			fs.writeFileSync(file, 'abc');
			const source = await openFileSource(file);
			act(file);
			expect([name, source.changed()]).toEqual([name, changed]);
			if (changed) expect((await refusal(() => source.assertUnchanged())).code).toBe('E_INPUT_CHANGED');
			else source.assertUnchanged();
			await source.close();
		}
	});

	it('opens an empty file and a link to a file', async () => {
		const dir = tempDir();
		fs.writeFileSync(path.join(dir, 'empty'), '');
		fs.symlinkSync('empty', path.join(dir, 'link'));
		const source = await openFileSource(path.join(dir, 'link'));
		expect(source.size).toBe(0);
		await source.close();
	});

	it.skipIf(process.platform === 'win32')('refuses what is no file, without hanging', async () => {
		const dir = tempDir();
		const at = (name: string) => path.join(dir, name);
		execFileSync('mkfifo', [at('fifo')]);
		fs.symlinkSync('loop', at('loop'));
		fs.symlinkSync('gone', at('dangling'));
		fs.mkdirSync(at('dir'));
		const server = net.createServer();
		await new Promise<void>((resolve) => server.listen(at('socket'), resolve));
		const cases: [string, string, RegExp][] = [
			[at('fifo'), 'E_NOT_A_FILE', /is a named pipe/],
			[at('socket'), 'E_NOT_A_FILE', /is a socket/],
			[at('dir'), 'E_NOT_A_FILE', /is a folder/],
			['/dev/zero', 'E_NOT_A_FILE', /is a device/],
			[at('loop'), 'E_IO', /circle/],
			[at('dangling'), 'E_IO', /symbolic link to "gone", which does not exist/],
			[at('missing'), 'E_IO', /there is no such file/],
			[at('a\0b'), 'E_IO', /NUL/],
			[at('x'.repeat(300)), 'E_IO', /longer than/],
			['', 'E_IO', /there is no such file/],
		];
		if (process.platform === 'linux') {
			cases.push(['/proc/self/mem', 'E_NOT_A_FILE', /kernel/], ['/proc/self/status', 'E_NOT_A_FILE', /kernel/]);
		}
		for (const [file, code, words] of cases) {
			const error = await refusal(() => openFileSource(file));
			expect([file, error.code]).toEqual([file, code]);
			expect(error.message).toMatch(words);
			expect(error.message).toMatch(/^[^\n]*\.$/);
		}
		server.close();
	});

	it.skipIf(process.getuid?.() === 0 || process.platform === 'win32')('refuses an unreadable file (not as root)', async () => {
		const file = path.join(tempDir(), 'x');
		fs.writeFileSync(file, 'x', { mode: 0 });
		expect((await refusal(() => openFileSource(file))).message).toMatch(/no permission/);
	});

	it('leaves no descriptor open after a refusal', async () => {
		if (process.platform !== 'linux') return;
		const count = () => fs.readdirSync('/proc/self/fd').length;
		const before = count();
		for (let i = 0; i < 50; i++) await refusal(() => openFileSource('/proc/self/mem'));
		expect(count()).toBe(before);
	});
});

describe('hashFile, hashSource', () => {
	it('gives the SHA-256 of FIPS 180-2', async () => {
		const file = path.join(tempDir(), 'abc');
		fs.writeFileSync(file, 'abc');
		expect(await hashFile(file)).toBe('ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad');
		const million = new Uint8Array(1_000_000).fill(0x61);
		expect(await hashSource(bytesSource(million))).toBe('cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0');
		fs.writeFileSync(file, '');
		expect(await hashFile(file)).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855');
	});

	it('hashes across chunk boundaries', async () => {
		const file = path.join(tempDir(), 'big');
		const bytes = pattern(9 * 1024 * 1024 + 5);
		fs.writeFileSync(file, bytes);
		const expected = createHash('sha256').update(bytes).digest('hex');
		expect(await hashFile(file)).toBe(expected);
		expect(await hashSource(bytesSource(bytes))).toBe(expected);
	});
});
