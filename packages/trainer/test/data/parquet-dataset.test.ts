import { type ByteSource, blobSource, bytesSource } from '@lorakit/format';
import { parquetReadObjects } from 'hyparquet';
import { compressors } from 'hyparquet-compressors';
import { describe, expect, it } from 'vitest';
import { openParquetDataset } from '../../src/data/parquet-dataset.js';
import { inspectPng, openBytes, openFixture, parquetFixture, ROWS, refusal, sha256 } from './parquet-support.js';

/** Columns that cannot be guessed. */
const OPTIONS: Readonly<Record<string, object>> = { lists: { imageColumn: 'photo', captionColumn: 'captions' } };

describe('Parquet data sets', () => {
	it.each(Object.keys(ROWS).filter((name) => name !== 'holes'))('%s: pictures and captions as pyarrow reads them', async (name) => {
		const set = await openFixture(name, OPTIONS[name]);
		const rows = (ROWS[name] ?? []).map(([picture, captions], i) => ({
			name: `${name}.parquet#${i}`,
			sha256: picture,
			captions: Array.isArray(captions) ? captions.filter((text) => text !== null) : captions === null ? [] : [captions],
		}));
		const expected = rows.filter(({ captions }) => captions.length > 0);
		expect(expected.length).toBeGreaterThanOrEqual(6);
		expect(set.items.map(({ name, sha256, captions }) => ({ name, sha256, captions }))).toEqual(expected);
		expect(set.skipped.map(({ name, reason }) => [name, reason])).toEqual(
			rows.filter(({ captions }) => captions.length === 0).map(({ name }) => [name, 'no-caption']),
		);
		// In another order than they lie in.
		for (const item of [...set.items].reverse()) {
			const bytes = await item.read();
			expect(sha256(bytes)).toBe(item.sha256);
			expect(await inspectPng('', bytes)).toEqual({ width: item.width, height: item.height });
		}
		expect(set.digest).toMatch(/^[0-9a-f]{64}$/);
		await set.close();
	});

	it('reads what hyparquet reads, value by value', async () => {
		for (const name of ['train-00000-of-00001', 'train-zstd-3groups', 'plain-v1', 'snappy-v2', 'zstd-v2-dictionary']) {
			const bytes = parquetFixture(name);
			const file = { byteLength: bytes.byteLength, slice: (a: number, b?: number) => bytes.slice(a, b).buffer };
			const rows = await parquetReadObjects({ file, compressors, utf8: false });
			const set = await openBytes(bytes);
			expect(set.items.length).toBe(rows.length);
			for (const [i, row] of rows.entries()) {
				expect(Buffer.compare((await set.items[i]?.read()) ?? Buffer.of(), row['image'].bytes)).toBe(0);
				expect(set.items[i]?.captions).toEqual([row['text']]);
			}
		}
	});

	it('names rows without a picture or a caption, and goes on', async () => {
		const set = await openFixture('holes');
		expect(set.items.map(({ name, captions }) => [name, captions])).toEqual([
			['holes.parquet#0', ['a red circle on a white background']],
			['holes.parquet#7', ['a yellow circle']],
		]);
		expect(set.skipped.map(({ name, reason }) => [name, reason])).toEqual([
			['holes.parquet#1', 'no-picture'],
			['holes.parquet#2', 'no-picture'],
			['holes.parquet#3', 'empty'],
			['holes.parquet#4', 'no-caption'],
			['holes.parquet#5', 'no-caption'],
			['holes.parquet#6', 'no-caption'],
		]);
		expect(set.skipped[0]?.message).toContain('"holes.parquet#1" has no bytes of a picture');
		const error = await refusal(() => openFixture('holes', { onBad: 'refuse' }));
		expect(error.message).toContain('6 of the 8 rows of "holes.parquet" cannot be used');
		expect(error.message).toContain('"holes.parquet#6" has no caption');
		await set.close();
	});

	it('gives every picture the prompt of DreamBooth, captions or none', async () => {
		const set = await openFixture('holes', { prompt: 'a photo of sks dog' });
		expect(set.items.length).toBe(5);
		expect(new Set(set.items.flatMap(({ captions }) => captions))).toEqual(new Set(['a photo of sks dog']));
		await set.close();
	});

	it('joins shards, the same whatever way they are read', async () => {
		const shards = ['train-00000-of-00001', 'train-zstd-3groups'].map((name) => ({ name: `${name}.parquet`, bytes: parquetFixture(name) }));
		const open = (source: (bytes: Uint8Array, name: string) => ByteSource, duplicates: 'skip' | 'keep' = 'skip') =>
			openParquetDataset(
				shards.map(({ name, bytes }) => ({ name, source: source(bytes, name) })),
				{ inspect: inspectPng, name: 'both', duplicates },
			);
		const alone = await open(bytesSource);
		expect(alone.items.length).toBe(8);
		expect(alone.skipped.map(({ reason, message }) => [reason, message]).at(-1)).toEqual([
			'duplicate',
			'"train-zstd-3groups.parquet#7" has the bytes and the caption of "train-00000-of-00001.parquet#7"; take one away.',
		]);
		const fromMemory = await open(bytesSource, 'keep');
		const fromBlob = await open((bytes, name) => blobSource(new Blob([Uint8Array.from(bytes)]), name), 'keep');
		expect(fromMemory.items.length).toBe(16);
		expect(fromMemory.items[8]?.name).toBe('train-zstd-3groups.parquet#0');
		expect(fromBlob.digest).toBe(fromMemory.digest);
		expect(sha256((await fromBlob.items[15]?.read()) ?? Buffer.of())).toBe(ROWS['train-zstd-3groups']?.[7]?.[0]);
		const twice = [0, 1].map(() => ({ name: 'x', source: bytesSource(parquetFixture('plain-v1')) }));
		expect((await refusal(() => openParquetDataset(twice, { inspect: inspectPng }))).code).toBe('E_USAGE');
	});

	it('reads pages, never a row group', async () => {
		const bytes = parquetFixture('plain-v1');
		const footer = bytes.byteLength - 8 - new DataView(bytes.buffer).getUint32(bytes.byteLength - 8, true);
		const inner = bytesSource(bytes, 'plain-v1.parquet');
		const lengths: number[] = [];
		const source: ByteSource = {
			...inner,
			read: (offset, length) => {
				if (offset < footer) lengths.push(length);
				return inner.read(offset, length);
			},
		};
		const set = await openParquetDataset([{ name: 'a', source }], { inspect: inspectPng });
		// Four pages of pictures with two each in one row group.
		expect(Math.max(...lengths)).toBeLessThan(footer / 3);
		await set.close();
	});

	it('says when a file changed behind its back', async () => {
		const bytes = parquetFixture('snappy-v2');
		const changing = bytes.slice();
		const source: ByteSource = { ...bytesSource(changing, 'c'), read: async (offset, length) => changing.slice(offset, offset + length) };
		const set = await openParquetDataset([{ name: 'c', source }], { inspect: inspectPng });
		const [first] = set.items;
		// What was read is forgotten: closing gives the pages back (bytes in memory can still be read).
		await set.close();
		for (let at = 0; at >= 0; at = Buffer.from(changing).indexOf('IHDR')) if (at > 0) changing[at] = 0x4a;
		expect((await refusal(() => first?.read())).code).toBe('E_INPUT_CHANGED');
	});

	it('asks for columns that it cannot guess, and refuses those of other kinds', async () => {
		const unnamed = await refusal(() => openFixture('lists'));
		expect(unnamed.code).toBe('E_USAGE');
		expect(unnamed.message).toContain('"id", "captions", "photo"');
		expect((await refusal(() => openFixture('lists', { imageColumn: 'picture' }))).message).toContain('no column "picture"');
		expect((await refusal(() => openFixture('lists', { imageColumn: 'id' }))).message).toContain('"id" holds no encoded pictures');
		expect((await refusal(() => openFixture('lists', { imageColumn: 'photo', captionColumn: 'id' }))).message).toContain('neither texts');
	});

	it('says which packing and encoding it does not read', async () => {
		expect((await refusal(() => openFixture('gzip'))).message).toContain('packed with GZIP');
		expect((await refusal(() => openFixture('delta'))).message).toContain('encoded as DELTA_LENGTH_BYTE_ARRAY');
	});

	it('finds one wrong byte in a page that has a checksum', async () => {
		const bytes = parquetFixture('plain-v1');
		const picture = await (await openBytes(bytes)).items[0]?.read();
		const at = Buffer.from(bytes).indexOf(picture ?? Buffer.of());
		expect(at).toBeGreaterThan(0);
		bytes[at + 40] = (bytes[at + 40] ?? 0) ^ 1;
		expect((await refusal(() => openBytes(bytes))).message).toContain('does not have the checksum');
	});

	it('can be stopped', async () => {
		expect((await refusal(() => openFixture('plain-v1', { signal: AbortSignal.abort() }))).code).toBe('E_INTERRUPTED');
	});

	it('counts the rows', async () => {
		const seen: (readonly number[])[] = [];
		await openFixture('train-zstd-3groups', { onProgress: (done, total) => seen.push([done, total]) });
		expect(seen).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((row) => [row, 8]));
	});
});
