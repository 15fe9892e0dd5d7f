import { execFileSync, spawnSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { FormatError } from '../../src/errors.js';
import { type FileCalls, type FileSink, openFileSource, writeFileAtomic, writeFilesAtomic } from '../../src/io/index.js';
import { pattern, refusal, sameBytes, tempDir, writeTree } from './temp-dir.js';

const put =
	(text: string) =>
	(sink: FileSink): Promise<void> =>
		sink.write(Buffer.from(text));
const read = (file: string) => fs.readFileSync(file, 'utf8');
/** A system error as Node throws it. */
const system = (code: string, syscall: string) => Object.assign(new Error(`${code}: made up, ${syscall}`), { code, syscall });

describe('writeFileAtomic', () => {
	it('writes small and large pieces in order, and patches', async () => {
		const dir = tempDir();
		const target = path.join(dir, 'out.bin');
		const bytes = pattern(3_500_000);
		await writeFileAtomic(target, async (sink) => {
			let at = 0;
			// 0, 1, 3, 9, ... bytes: gathered, then straight through.
			for (let size = 0; at < bytes.byteLength; size = size * 3 || 1) {
				const piece = bytes.slice(at, at + size);
				await sink.write(piece);
				piece.fill(0xee);
				at = Math.min(at + size, bytes.byteLength);
				expect(sink.position).toBe(at);
			}
			await sink.patch(0, Uint8Array.of(1, 2, 3));
			await sink.patch(3_499_999, Uint8Array.of(9));
			await expect(sink.patch(3_499_999, Uint8Array.of(9, 9))).rejects.toThrow(TypeError);
		});
		bytes.set([1, 2, 3]);
		bytes[3_499_999] = 9;
		expect(sameBytes(fs.readFileSync(target), bytes)).toBe(true);
		expect(fs.readdirSync(dir)).toEqual(['out.bin']);
	});

	it('writes an empty file', async () => {
		const target = path.join(tempDir(), 'empty');
		await writeFileAtomic(target, async () => {});
		expect(fs.statSync(target).size).toBe(0);
	});

	it('refuses a target that is there, replaces it with force and keeps its permission bits', async () => {
		const dir = tempDir();
		const target = path.join(dir, 'out');
		fs.writeFileSync(target, 'old');
		fs.chmodSync(target, 0o640);
		let ran = false;
		const error = await refusal(() =>
			writeFileAtomic(target, async () => {
				ran = true;
			}),
		);
		expect([error.code, error.message, ran]).toEqual([
			'E_OUTPUT_EXISTS',
			`"${target}" exists already; use --force to replace it or name another output.`,
			false,
		]);
		expect(read(target)).toBe('old');
		await writeFileAtomic(target, put('new'), { force: true });
		expect([read(target), fs.statSync(target).mode & 0o777]).toEqual(['new', 0o640]);
		expect(fs.readdirSync(dir)).toEqual(['out']);
	});

	it('does not replace a target that appears while it writes', async () => {
		const dir = tempDir();
		const target = path.join(dir, 'out');
		const write = async (sink: FileSink) => {
			await put('mine')(sink);
			fs.writeFileSync(target, 'theirs');
		};
		expect((await refusal(() => writeFileAtomic(target, write))).code).toBe('E_OUTPUT_EXISTS');
		fs.unlinkSync(target);
		// The same where there are no hard links.
		const calls: Partial<FileCalls> = {
			linkSync: () => {
				throw system('EPERM', 'link');
			},
		};
		expect((await refusal(() => writeFileAtomic(target, write, { calls }))).code).toBe('E_OUTPUT_EXISTS');
		expect([read(target), fs.readdirSync(dir)]).toEqual(['theirs', ['out']]);
		fs.unlinkSync(target);
		await writeFileAtomic(target, put('mine'), { calls });
		expect([read(target), fs.readdirSync(dir)]).toEqual(['mine', ['out']]);
	});

	it('refuses an output that is an input: by path, hard link, link, other spelling, or source; also with force', async () => {
		const dir = tempDir();
		const input = path.join(dir, 'in');
		fs.writeFileSync(input, 'input');
		fs.linkSync(input, path.join(dir, 'hard'));
		fs.symlinkSync('in', path.join(dir, 'soft'));
		fs.mkdirSync(path.join(dir, 'sub'));
		const source = await openFileSource(input);
		for (const name of ['in', 'hard', 'soft', 'sub/../in']) {
			for (const inputs of [[input], [source], ['/no/such/file', source]]) {
				for (const force of [true, false]) {
					const error = await refusal(() => writeFileAtomic(`${dir}/${name}`, put('x'), { inputs, force }));
					expect([name, error.code]).toEqual([name, 'E_OUTPUT_IS_INPUT']);
				}
			}
		}
		await source.close();
		expect([read(input), fs.readdirSync(dir).sort()]).toEqual(['input', ['hard', 'in', 'soft', 'sub']]);
	});

	it('does not put an output in place whose input changed', async () => {
		const dir = tempDir();
		writeTree(dir, { in: 'input', out: 'old' });
		const source = await openFileSource(path.join(dir, 'in'));
		const write = async (sink: FileSink) => {
			await put('new')(sink);
			fs.appendFileSync(path.join(dir, 'in'), 'more');
		};
		const error = await refusal(() => writeFileAtomic(path.join(dir, 'out'), write, { inputs: [source], force: true }));
		await source.close();
		expect([error.code, read(path.join(dir, 'out')), fs.readdirSync(dir).sort()]).toEqual(['E_INPUT_CHANGED', 'old', ['in', 'out']]);
	});

	it('replaces the file behind a symbolic link and keeps the link', async () => {
		const dir = tempDir();
		writeTree(dir, { 'real/file': 'old' });
		fs.symlinkSync('real/file', path.join(dir, 'link'));
		await writeFileAtomic(path.join(dir, 'link'), put('new'), { force: true });
		expect([fs.readlinkSync(path.join(dir, 'link')), read(path.join(dir, 'real/file'))]).toEqual(['real/file', 'new']);
		expect([fs.readdirSync(dir).sort(), fs.readdirSync(path.join(dir, 'real'))]).toEqual([['link', 'real'], ['file']]);
	});

	it('refuses what cannot be a target, and makes nothing', async () => {
		const dir = tempDir();
		writeTree(dir, { file: 'x' });
		fs.mkdirSync(path.join(dir, 'folder'));
		fs.symlinkSync('gone', path.join(dir, 'dangling'));
		fs.symlinkSync('loop', path.join(dir, 'loop'));
		execFileSync('mkfifo', [path.join(dir, 'fifo')]);
		const cases: [string, RegExp][] = [
			['folder', /is a folder; the output must be a file/],
			['new/', /names a folder/],
			['dangling', /symbolic link to "gone", which does not exist/],
			['loop', /circle/],
			['fifo', /is a named pipe/],
			['no/such/out', /the folder ".*no\/such" does not exist/],
			['file/out', /".*file" is not a folder|a part of the path is a file/],
			['x'.repeat(256), /longer than the file system allows/],
			['a\0b', /NUL/],
		];
		const before = fs.readdirSync(dir).sort();
		for (const [name, words] of cases) {
			const error = await refusal(() => writeFileAtomic(`${dir}/${name}`, put('x'), { force: true }));
			expect([name.slice(0, 20), error.code]).toEqual([name.slice(0, 20), 'E_IO']);
			expect(error.message).toMatch(words);
		}
		expect((await refusal(() => writeFileAtomic('', put('x')))).code).toBe('E_IO');
		expect((await refusal(() => writeFileAtomic('/dev/null', put('x'), { force: true }))).message).toMatch(/is a device/);
		expect(fs.readdirSync(dir).sort()).toEqual(before);
	});

	it('takes names of any bytes and of the greatest length', async () => {
		const dir = tempDir();
		for (const name of [
			' ',
			'o u\u0301t;$(touch pwn)-\u6a21.safetensors',
			'x'.repeat(255),
			'模'.repeat(85),
			'😀'.repeat(63),
			'-',
			'--force',
			'.hidden',
		]) {
			await writeFileAtomic(`${dir}/${name}`, put(name));
			expect(read(`${dir}/${name}`)).toBe(name);
		}
		expect(fs.readdirSync(dir).length).toBe(8);
	});

	it('leaves nothing when the writer throws, and passes its error on', async () => {
		const dir = tempDir();
		fs.writeFileSync(path.join(dir, 'out'), 'old');
		for (const thrown of [new FormatError('E_NONFINITE', 'No.'), new RangeError('a bug')]) {
			const run = writeFileAtomic(
				path.join(dir, 'out'),
				async (sink) => {
					await sink.write(pattern(2_000_000));
					throw thrown;
				},
				{ force: true },
			);
			await expect(run).rejects.toBe(thrown);
		}
		expect([read(path.join(dir, 'out')), fs.readdirSync(dir)]).toEqual(['old', ['out']]);
	});
});

describe('writing under faults', () => {
	it('goes on after short writes', async () => {
		const target = path.join(tempDir(), 'out');
		const bytes = pattern(700_000);
		const writeSync = ((fd: number, buffer: Uint8Array, offset: number, length: number, position: number) =>
			fs.writeSync(fd, buffer, offset, Math.min(length, 4099), position)) as FileCalls['writeSync'];
		await writeFileAtomic(
			target,
			async (sink) => {
				await sink.write(bytes.subarray(0, 10_000));
				await sink.write(bytes.subarray(10_000));
			},
			{ calls: { writeSync } },
		);
		expect(sameBytes(fs.readFileSync(target), bytes)).toBe(true);
	});

	const calls: Readonly<Record<string, (code: string) => Partial<FileCalls>>> = {
		'first write': (code) => ({
			writeSync: () => {
				throw system(code, 'write');
			},
		}),
		'a short write, then': (code) => {
			let count = 0;
			return {
				writeSync: ((fd: number, buffer: Uint8Array, offset: number, length: number, position: number) => {
					if (count++ > 0) throw system(code, 'write');
					return fs.writeSync(fd, buffer, offset, Math.min(length, 1000), position);
				}) as FileCalls['writeSync'],
			};
		},
		fsync: (code) => ({ fsync: ((_: number, done: (error: Error) => void) => done(system(code, 'fsync'))) as FileCalls['fsync'] }),
		close: (code) => ({
			closeSync: (fd) => {
				fs.closeSync(fd);
				throw system(code, 'close');
			},
		}),
		open: (code) => ({
			openSync: () => {
				throw system(code, 'open');
			},
		}),
		rename: (code) => ({
			renameSync: () => {
				throw system(code, 'rename');
			},
		}),
	};
	const words: readonly [string, string, RegExp][] = [
		['ENOSPC', 'E_NO_SPACE', /no space left on the device; what was there before is unchanged/],
		['EDQUOT', 'E_NO_SPACE', /quota/],
		['EFBIG', 'E_NO_SPACE', /no space left under the largest file size/],
		['EACCES', 'E_IO', /no permission/],
		['EROFS', 'E_IO', /read-only/],
		['EIO', 'E_IO', /input\/output error/],
	];
	it.each(Object.keys(calls).flatMap((where) => words.map(([errno, code, text]) => [where, errno, code, text] as const)))(
		'%s fails with %s: %s, old file whole, no temporary file',
		async (where, errno, code, text) => {
			const dir = tempDir();
			const target = path.join(dir, 'out');
			fs.writeFileSync(target, 'old');
			const make = calls[where];
			if (make === undefined) throw new Error(where);
			const error = await refusal(() =>
				writeFileAtomic(target, (sink) => sink.write(pattern(500_000)), { force: true, calls: make(errno) }),
			);
			expect(error.code).toBe(code);
			expect(error.message).toMatch(text);
			expect(error.message).toContain(target);
			expect([read(target), fs.readdirSync(dir)]).toEqual(['old', ['out']]);
		},
	);

	it('bears an fsync that a file system does not have', async () => {
		const target = path.join(tempDir(), 'out');
		const fsync = ((_: number, done: (error: Error) => void) => done(system('EINVAL', 'fsync'))) as FileCalls['fsync'];
		await writeFileAtomic(target, put('x'), { calls: { fsync } });
		expect(read(target)).toBe('x');
	});

	it('says when the folder could not be synced', async () => {
		const target = path.join(tempDir(), 'out');
		const fsyncSync = () => {
			throw system('EIO', 'fsync');
		};
		const error = await refusal(() => writeFileAtomic(target, put('x'), { calls: { fsyncSync } }));
		expect([error.code, read(target)]).toEqual(['E_IO', 'x']);
	});

	it('syncs the file before the rename and the folder after it', async () => {
		const target = path.join(tempDir(), 'out');
		fs.writeFileSync(target, 'old');
		const order: string[] = [];
		await writeFileAtomic(target, put('x'), {
			force: true,
			calls: {
				fsync: ((fd: number, done: (error: null) => void) => {
					order.push(`file ${fs.fstatSync(fd).size}`);
					done(null);
				}) as FileCalls['fsync'],
				renameSync: (from, to) => {
					order.push('rename');
					fs.renameSync(from, to);
				},
				fsyncSync: (fd) => {
					order.push(fs.fstatSync(fd).isDirectory() ? 'folder' : 'other');
				},
			},
		});
		expect(order).toEqual(['file 1', 'rename', 'folder']);
	});

	it('meets a real full disk (needs root and tmpfs)', async ({ skip }) => {
		const dir = tempDir();
		if (spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=256k', 'tmpfs', dir]).status !== 0) skip('no permission to mount');
		try {
			const target = path.join(dir, 'out');
			fs.writeFileSync(target, 'old'.repeat(100));
			for (const size of [1_000_000, 200_000]) {
				// Large pieces go straight to the disk; small ones meet it in the last flush.
				const write = async (sink: FileSink) => {
					for (let i = 0; i < 5; i++) await sink.write(pattern(size));
				};
				const error = await refusal(() => writeFileAtomic(target, write, { force: true }));
				expect(error.code).toBe('E_NO_SPACE');
				expect([read(target), fs.readdirSync(dir)]).toEqual(['old'.repeat(100), ['out']]);
			}
		} finally {
			spawnSync('umount', [dir]);
		}
	});
});

describe('writeFilesAtomic', () => {
	const three = (dir: string) => ['a', 'b', 'c'].map((name) => ({ target: path.join(dir, name), write: put(`new ${name}`) }));

	it('writes all', async () => {
		const dir = tempDir();
		writeTree(dir, { b: 'old b' });
		await writeFilesAtomic(three(dir), { force: true });
		expect(fs.readdirSync(dir).map((name) => [name, read(path.join(dir, name))])).toEqual([
			['a', 'new a'],
			['b', 'new b'],
			['c', 'new c'],
		]);
	});

	it('writes none when one cannot be written', async () => {
		const dir = tempDir();
		writeTree(dir, { a: 'old a' });
		const outputs = three(dir);
		const failing = { target: path.join(dir, 'd'), write: () => Promise.reject(new FormatError('E_LOSS', 'No.')) };
		expect((await refusal(() => writeFilesAtomic([...outputs, failing], { force: true }))).code).toBe('E_LOSS');
		expect((await refusal(() => writeFilesAtomic(outputs))).code).toBe('E_OUTPUT_EXISTS');
		expect(
			(await refusal(() => writeFilesAtomic([...outputs, { target: path.join(dir, 'x/d'), write: put('') }], { force: true }))).code,
		).toBe('E_IO');
		expect((await refusal(() => writeFilesAtomic([...outputs, { target: `${dir}/./c`, write: put('') }], { force: true }))).code).toBe(
			'E_OUTPUT_EXISTS',
		);
		expect([read(path.join(dir, 'a')), fs.readdirSync(dir)]).toEqual(['old a', ['a']]);
	});

	it('undoes what was in place when a rename fails: old files come back, new ones go', async () => {
		const dir = tempDir();
		writeTree(dir, { b: 'old b', c: 'old c' });
		const renameSync: FileCalls['renameSync'] = (from, to) => {
			if (path.basename(String(to)) === 'c') throw system('EACCES', 'rename');
			fs.renameSync(from, to);
		};
		const error = await refusal(() => writeFilesAtomic(three(dir), { force: true, calls: { renameSync } }));
		expect([error.code, error.message]).toEqual([
			'E_IO',
			`"${path.join(dir, 'c')}" cannot be written: there is no permission to write there. The other outputs were put back as they were.`,
		]);
		expect(fs.readdirSync(dir).map((name) => [name, read(path.join(dir, name))])).toEqual([
			['b', 'old b'],
			['c', 'old c'],
		]);
	});

	it('says which new files stay when no old one could be kept', async () => {
		const dir = tempDir();
		writeTree(dir, { a: 'old a' });
		const calls: Partial<FileCalls> = {
			linkSync: () => {
				throw system('EPERM', 'link');
			},
			renameSync: (from, to) => {
				if (path.basename(String(to)) === 'b') throw system('EIO', 'rename');
				fs.renameSync(from, to);
			},
		};
		const error = await refusal(() => writeFilesAtomic(three(dir), { force: true, calls }));
		expect(error.message).toContain(`The new content stays in "${path.join(dir, 'a')}"`);
		expect([read(path.join(dir, 'a')), fs.readdirSync(dir)]).toEqual(['new a', ['a']]);
	});

	it('takes back new files without force', async () => {
		const dir = tempDir();
		const outputs = three(dir);
		const late = {
			target: path.join(dir, 'd'),
			write: async () => {
				fs.writeFileSync(path.join(dir, 'c'), 'theirs');
			},
		};
		expect((await refusal(() => writeFilesAtomic([...outputs, late]))).code).toBe('E_OUTPUT_EXISTS');
		expect([read(path.join(dir, 'c')), fs.readdirSync(dir)]).toEqual(['theirs', ['c']]);
	});
});
