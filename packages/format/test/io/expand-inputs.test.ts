import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { expandInputs, isGlob, matchName } from '../../src/io/index.js';
import { refusal, tempDir, writeTree } from './temp-dir.js';

describe('matchName', () => {
	it.each([
		['*', 'a.pt', true],
		['*', '', true],
		['*', '.hidden', false],
		['.*', '.hidden', true],
		['?hidden', '.hidden', false],
		['*.pt', 'a.pt', true],
		['*.pt', 'a.pth', false],
		['a*b*c', 'aXXbYYc', true],
		['a*b*c', 'aXXcYYb', false],
		['a**c', 'abc', true],
		['?', '模', true],
		['?', '😀', true],
		['?', 'ab', false],
		['[abc]x', 'bx', true],
		['[!abc]x', 'bx', false],
		['[^abc]x', 'dx', true],
		['[a-f0-9]', '7', true],
		['[a-f]', 'g', false],
		['[]]', ']', true],
		['[a-]', '-', true],
		['[abc', '[abc', true],
		['\\*', '*', true],
		['\\*', 'a', false],
		['a+b.(c)', 'a+b.(c)', true],
		['', '', true],
		['', 'a', false],
	] as const)('%j %j %j', (pattern, name, expected) => {
		expect(matchName(pattern, name)).toBe(expected);
	});

	it('is quick on patterns that ruin regular expressions', () => {
		const started = performance.now();
		expect(matchName(`${'*a'.repeat(50)}b`, 'a'.repeat(5000))).toBe(false);
		expect(performance.now() - started).toBeLessThan(1000);
	});

	it('tells patterns from names', () => {
		expect(['a*', 'a?', '[a]', 'a\\*', 'a.pt', '\\\\*'].map(isGlob)).toEqual([true, true, true, false, false, true]);
	});
});

describe('expandInputs', () => {
	function tree(): { dir: string; expand: (...args: readonly string[]) => Promise<string[]> } {
		const dir = tempDir();
		const names = [
			'b.safetensors',
			'a.pt',
			'a.text_encoder.pt',
			'a.ti.pt',
			'a_emb.safetensors',
			'notes.txt',
			'.hidden.pt',
			'x[1].pt',
			'sub/c.bin',
			'sub/optimizer.pt',
			'sub/deep/d.ckpt',
			'sub/.git/e.pt',
			'peft/adapter_model.safetensors',
			'peft/adapter_config.json',
		];
		writeTree(dir, Object.fromEntries(names.map((n) => [n, 'x'])));
		fs.symlinkSync('..', path.join(dir, 'sub/loop'));
		fs.symlinkSync('../b.safetensors', path.join(dir, 'sub/link.safetensors'));
		const expand = async (...args: readonly string[]) => {
			const files = await expandInputs(args.map((a) => (a.startsWith('hf:') || a === '-' ? a : path.join(dir, a))));
			return files.map((f) => (path.isAbsolute(f) ? path.relative(dir, f) : f));
		};
		return { dir, expand };
	}

	it('gives the weight files below a folder, without companions, state, hidden files and circles', async () => {
		const { expand } = tree();
		expect(await expand('')).toEqual([
			'a.pt',
			'b.safetensors',
			'peft/adapter_model.safetensors',
			'sub/c.bin',
			'sub/deep/d.ckpt',
			'sub/link.safetensors',
			'x[1].pt',
		]);
	});

	it('expands globs', async () => {
		const { expand } = tree();
		expect(await expand('*.pt')).toEqual(['a.pt', 'a.text_encoder.pt', 'a.ti.pt', 'x[1].pt']);
		expect(await expand('[ab].[ps]*')).toEqual(['a.pt', 'b.safetensors']);
		expect(await expand('s*/?.bin')).toEqual(['sub/c.bin']);
		expect(await expand('**/*.safetensors')).toEqual([
			'a_emb.safetensors',
			'b.safetensors',
			'peft/adapter_model.safetensors',
			'sub/link.safetensors',
		]);
		expect(await expand('sub/**')).toEqual(['sub/c.bin', 'sub/deep/d.ckpt', 'sub/link.safetensors', 'sub/optimizer.pt']);
		expect(await expand('sub/loop/*.safetensors')).toEqual(['sub/loop/a_emb.safetensors', 'sub/loop/b.safetensors']);
	});

	it('keeps names as they are: addresses, "-", files with brackets, what is not there; nothing twice', async () => {
		const { expand } = tree();
		expect(await expand('x[1].pt', 'a.pt', 'a.*', 'gone.pt', 'hf://own/rep/*.pt', '-')).toEqual([
			'x[1].pt',
			'a.pt',
			'a.text_encoder.pt',
			'a.ti.pt',
			'gone.pt',
			'hf://own/rep/*.pt',
			'-',
		]);
	});

	it('works from the current folder', async () => {
		const { dir } = tree();
		const before = process.cwd();
		try {
			process.chdir(dir);
		} catch {
			// Worker threads cannot change folders.
			return;
		}
		try {
			expect(await expandInputs(['*.bin', 's*/*.bin', '**/*.ckpt'].slice(1))).toEqual(['sub/c.bin', 'sub/deep/d.ckpt']);
		} finally {
			process.chdir(before);
		}
	});

	it('refuses a glob without files and a folder without weights', async () => {
		const { dir, expand } = tree();
		expect((await refusal(() => expand('*.onnx'))).code).toBe('E_IO');
		expect((await refusal(() => expand('no/such/*'))).code).toBe('E_IO');
		fs.mkdirSync(path.join(dir, 'empty'));
		expect((await refusal(() => expand('empty'))).code).toBe('E_NOT_A_FILE');
	});
});
