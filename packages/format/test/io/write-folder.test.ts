import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { checkFolderTarget, listTree, writeFolder } from '../../src/io/index.js';
import { refusal, tempDir, writeTree } from './temp-dir.js';

const read = (file: string): string => fs.readFileSync(file, 'utf8');
const text = (value: string) => Buffer.from(value);

describe('writeFolder', () => {
	it('copies and writes, patches at the end, and leaves nothing else', async () => {
		const dir = tempDir();
		writeTree(dir, { 'in/a/b/c.txt': 'copied', 'in/d.txt': 'too' });
		const out = path.join(dir, 'out');
		let patch: (() => Promise<void>) | undefined;
		await writeFolder(
			checkFolderTarget(out, false, [path.join(dir, 'in')]),
			[
				{ path: 'a/b/c.txt', from: path.join(dir, 'in/a/b/c.txt') },
				{ path: 'd.txt', from: path.join(dir, 'in/d.txt') },
				{
					path: 'e/f.txt',
					async write(sink) {
						await sink.write(text('????written'));
						patch = () => sink.patch(0, text('was '));
					},
				},
			],
			{ finish: async () => patch?.() },
		);
		expect(listTree(out)).toEqual(['a/b/c.txt', 'd.txt', 'e/f.txt']);
		expect([read(path.join(out, 'a/b/c.txt')), read(path.join(out, 'e/f.txt'))]).toEqual(['copied', 'was written']);
		expect(fs.readdirSync(dir).sort()).toEqual(['in', 'out']);
	});

	it('replaces the old folder as a whole, or leaves it as it was', async () => {
		const dir = tempDir();
		writeTree(dir, { 'out/model_index.json': 'old', 'out/more.txt': 'old' });
		const out = path.join(dir, 'out');
		const target = checkFolderTarget(out, true, []);
		for (const broken of [
			{ path: 'x', from: path.join(dir, 'nowhere') },
			{ path: 'x', write: () => Promise.reject(new Error('no')) },
		]) {
			await expect(writeFolder(target, [{ path: 'new.txt', write: (sink) => sink.write(text('new')) }, broken])).rejects.toThrow();
			expect(listTree(out)).toEqual(['model_index.json', 'more.txt']);
			expect(fs.readdirSync(dir)).toEqual(['out']);
		}
		await expect(writeFolder(target, [], { check: () => Promise.reject(new Error('stop')) })).rejects.toThrow('stop');
		expect(listTree(out)).toEqual(['model_index.json', 'more.txt']);
		await writeFolder(target, [{ path: 'new.txt', write: (sink) => sink.write(text('new')) }]);
		expect(listTree(out)).toEqual(['new.txt']);
		expect(fs.readdirSync(dir)).toEqual(['out']);
	});

	it('a folder that somebody made meanwhile is not replaced', async () => {
		const dir = tempDir();
		const out = path.join(dir, 'out');
		const target = checkFolderTarget(out, false, []);
		const error = await refusal(() =>
			writeFolder(target, [{ path: 'a', write: (sink) => sink.write(text('a')) }], { check: () => writeTree(dir, { 'out/b': 'theirs' }) }),
		);
		expect(error.code).toBe('E_OUTPUT_EXISTS');
		expect(listTree(out)).toEqual(['b']);
		expect(fs.readdirSync(dir)).toEqual(['out']);
	});

	it('a file that changes while it is copied is refused', async () => {
		const dir = tempDir();
		writeTree(dir, { 'in.txt': 'x' });
		const from = path.join(dir, 'in.txt');
		const copying = refusal(() => writeFolder(checkFolderTarget(path.join(dir, 'out'), false, []), [{ path: 'in.txt', from }]));
		fs.writeFileSync(from, 'changed');
		expect((await copying).code).toBe('E_INPUT_CHANGED');
		expect(fs.readdirSync(dir)).toEqual(['in.txt']);
	});
});

describe('checkFolderTarget', () => {
	it.each([
		['in', 'E_OUTPUT_IS_INPUT'],
		['in/below', 'E_OUTPUT_IS_INPUT'],
		['link', 'E_OUTPUT_IS_INPUT'],
		['.', 'E_OUTPUT_IS_INPUT'],
		['photos', 'E_OUTPUT_EXISTS'],
		['file.txt', 'E_IO'],
		['nowhere/out', 'E_IO'],
		['', 'E_IO'],
	])('refuses %s', async (name, code) => {
		const dir = tempDir();
		writeTree(dir, { 'in/config.json': '{}', 'photos/cat.jpg': 'cat', 'file.txt': 'x' });
		fs.symlinkSync(path.join(dir, 'in'), path.join(dir, 'link'));
		const target = name === '' ? '' : path.join(dir, name);
		expect((await refusal(() => checkFolderTarget(target, true, [path.join(dir, 'in')]))).code).toBe(code);
	});

	it('takes a new name, an empty folder, a name that begins with dots, and with force a model', () => {
		const dir = tempDir();
		writeTree(dir, { 'in/config.json': '{}', 'old/config.json': '{}' });
		fs.mkdirSync(path.join(dir, 'empty'));
		const check = (name: string, force: boolean) => checkFolderTarget(path.join(dir, name), force, [path.join(dir, 'in')]);
		expect([check('new', false).exists, check('empty', false).exists, check('old/', true).exists, check('..new', false).exists]).toEqual([
			false,
			true,
			true,
			false,
		]);
	});
});

describe('listTree', () => {
	it('follows links, passes over .git and .cache, refuses what is no file and links in a circle', async () => {
		const dir = tempDir();
		writeTree(dir, { 'm/a.txt': 'a', 'm/.git/x': '', 'm/.cache/y': '', 'm/.hidden': '', blob: 'b' });
		fs.symlinkSync(path.join(dir, 'blob'), path.join(dir, 'm/link'));
		expect(listTree(path.join(dir, 'm'))).toEqual(['.hidden', 'a.txt', 'link']);
		fs.symlinkSync(path.join(dir, 'gone'), path.join(dir, 'm/dead'));
		expect((await refusal(() => listTree(path.join(dir, 'm')))).code).toBe('E_IO');
		fs.unlinkSync(path.join(dir, 'm/dead'));
		fs.symlinkSync('.', path.join(dir, 'm/round'));
		expect((await refusal(() => listTree(path.join(dir, 'm')))).code).toBe('E_LIMIT');
	});
});
