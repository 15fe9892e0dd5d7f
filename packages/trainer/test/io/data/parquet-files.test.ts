import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import { openParquetFiles } from '../../../src/io/data/parquet-files.js';
import { parquetFixture, ROWS, refusal, sha256 } from '../../data/parquet-support.js';

const made: string[] = [];
afterEach(() => {
	for (const folder of made.splice(0)) fs.rmSync(folder, { recursive: true, force: true });
});

function folderOf(files: Readonly<Record<string, string>>): string {
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-parquet-'));
	made.push(folder);
	for (const [name, fixture] of Object.entries(files)) {
		fs.mkdirSync(path.dirname(path.join(folder, name)), { recursive: true });
		fs.writeFileSync(path.join(folder, name), parquetFixture(fixture));
	}
	return folder;
}

describe('Parquet files on disk', () => {
	it('are one file, every picture decoded', async () => {
		const folder = folderOf({ 'some name.parquet': 'train-00000-of-00001' });
		const set = await openParquetFiles(path.join(folder, 'some name.parquet'));
		expect(set.items.map(({ name, width, height }) => [name, width, height])).toEqual(
			Array.from({ length: 8 }, (_, i) => [`some name.parquet#${i}`, 64, 64]),
		);
		expect(set.items.map(({ sha256 }) => sha256)).toEqual(ROWS['train-00000-of-00001']?.map(([hash]) => hash));
		expect(sha256((await set.items[3]?.read()) ?? Buffer.of())).toBe(set.items[3]?.sha256);
		await set.close();
		await set.close();
	});

	it('are a folder of shards, splits told apart', async () => {
		const folder = folderOf({
			'data/train-00000-of-00002.parquet': 'plain-v1',
			'data/train-00001-of-00002.parquet': 'required',
			'data/test-00000-of-00001.parquet': 'snappy-v2',
			'README.md': 'gzip',
		});
		const set = await openParquetFiles(folder);
		expect(set.items.length).toBe(108);
		expect(set.items[8]?.name).toBe('data/train-00001-of-00002.parquet#0');
		expect((await openParquetFiles(folder, { split: 'test' })).items.length).toBe(8);
		// The same set elsewhere is the same set.
		const elsewhere = await openParquetFiles(
			folderOf({ 'data/train-00000-of-00002.parquet': 'plain-v1', 'data/train-00001-of-00002.parquet': 'required' }),
		);
		expect(elsewhere.digest).toBe(set.digest);
		fs.rmSync(path.join(folder, 'data/train-00000-of-00002.parquet'));
		expect((await refusal(() => openParquetFiles(folder))).code).toBe('E_SHARD_MISSING');
	});

	it('name pictures that do not decode, and go on', async () => {
		const file = path.join(folderOf({ 'a.parquet': 'damaged' }), 'a.parquet');
		const set = await openParquetFiles(file);
		expect(set.items.map(({ name }) => name)).toEqual(['a.parquet#0']);
		expect(set.skipped.map(({ name, reason }) => [name, reason])).toEqual([
			['a.parquet#1', 'corrupt'],
			['a.parquet#2', 'corrupt'],
			['a.parquet#3', 'not-a-picture'],
		]);
		for (const { name, message } of set.skipped) expect(message).toContain(`"${name}"`);
		expect((await refusal(() => openParquetFiles(file, { onBad: 'refuse' }))).message).toContain('3 of the 4 rows');
	});

	it('say what is not there', async () => {
		expect((await refusal(() => openParquetFiles('/nowhere/x.parquet'))).code).toBe('E_IO');
		expect((await refusal(() => openParquetFiles(folderOf({ 'notes.txt': 'gzip' })))).code).toBe('E_EMPTY');
		const folder = folderOf({ 'train-00000-of-00002.parquet': 'plain-v1', 'train-00001-of-00002.parquet': 'gzip' });
		expect((await refusal(() => openParquetFiles(folder))).message).toContain('packed with GZIP');
		if (fs.existsSync('/proc/self/fd')) {
			// A refusal leaves no file open.
			const open = fs.readdirSync('/proc/self/fd').map((fd) => {
				try {
					return fs.readlinkSync(`/proc/self/fd/${fd}`);
				} catch {
					return '';
				}
			});
			expect(open.filter((name) => name.startsWith(folder))).toEqual([]);
		}
	});
});
