import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { createTorchGenerator } from '@lorakit/runtime';
import { afterAll, describe, expect, it } from 'vitest';
import type { Dataset } from '../../../src/data/dataset.js';
import { datasetReport } from '../../../src/data/dataset-report.js';
import { planPicture, shorterSideTo } from '../../../src/data/plan-picture.js';
import { openImageFolder } from '../../../src/io/data/image-folder.js';
import { readTrainingMask, readTrainingPixels } from '../../../src/io/data/read-training-picture.js';

const FIXTURES = fileURLToPath(new URL('../../../../../fixtures/training/', import.meta.url));
const REFERENCE = path.join(FIXTURES, 'imagefolder');
const PICTURES = path.join(FIXTURES, 'pictures');
const CAPTIONS = [
	'a red circle on a white background',
	'a blue square on a white background',
	'a green triangle on a black background',
	'a yellow circle on a navy background',
	'a orange square on a gray background',
	'a purple triangle on a white background',
	'a cyan circle on a black background',
	'a magenta square on a olive background',
];
/** Of reference/training/manifest.json, parquet.png_sha256. */
const SHA256_OF_00 = '9cf9758b9fd1f30f6077573eb729ba6c8b3aaa8282b4a936b3ba276b382e41d1';

const top = fs.mkdtempSync(path.join(os.tmpdir(), 'image-folder-'));
afterAll(() => fs.rmSync(top, { recursive: true, force: true }));
let made = 0;

type Contents = Readonly<Record<string, string | Uint8Array>>;

/** A new folder with these files. */
function folder(contents: Contents): string {
	const dir = path.join(top, String(made++));
	fs.mkdirSync(dir);
	for (const [name, content] of Object.entries(contents)) {
		fs.mkdirSync(path.dirname(path.join(dir, name)), { recursive: true });
		fs.writeFileSync(path.join(dir, name), content);
	}
	return dir;
}

const picture = (name: string): Buffer => fs.readFileSync(path.join(PICTURES, name));
const png = (n: number): Buffer => fs.readFileSync(path.join(REFERENCE, `0${n}.png`));
const jsonl = (...rows: readonly object[]): string => `${rows.map((row) => JSON.stringify(row)).join('\n')}\n`;
const names = ({ items }: Dataset): readonly string[] => items.map(({ name }) => name);
const skips = ({ skipped }: Dataset): readonly (readonly [string, string])[] =>
	skipped.map(({ name, reason }) => [name, reason] as const).sort();
const refusal = (code: string, message: RegExp) =>
	expect.objectContaining({ name: 'FormatError', code, message: expect.stringMatching(message) });

/** rgb.png with other sides in its header. */
function sized(width: number, height: number): Buffer {
	const bytes = picture('rgb.png');
	bytes.writeUInt32BE(width, 16);
	bytes.writeUInt32BE(height, 20);
	return bytes;
}

describe('openImageFolder', () => {
	it('reads the reference set: names, captions, sizes, hashes; nothing is skipped', async () => {
		const set = await openImageFolder(REFERENCE, { onBad: 'refuse' });
		expect(names(set)).toEqual(CAPTIONS.map((_, i) => `0${i}.png`));
		expect(set.items.map(({ captions }) => captions)).toEqual(CAPTIONS.map((caption) => [caption]));
		expect(set.items.every(({ width, height }) => width === 64 && height === 64)).toBe(true);
		expect(set.items[0]?.sha256).toBe(SHA256_OF_00);
		expect([set.skipped, set.notes]).toEqual([[], []]);
		expect(datasetReport({ ...set, name: 'set' })).toEqual(['set: 8 pictures']);
		await set.close();
	});

	it('gives the pixel values that the reference batches hold, bit for bit', async () => {
		const set = await openImageFolder(REFERENCE);
		const [item] = set.items;
		if (item === undefined) throw new Error('no picture');
		const target = { width: 64, height: 64 };
		const plan = planPicture(
			{ resized: shorterSideTo(64, item), target, crop: 'center', flip: false, filter: 'lanczos' },
			createTorchGenerator(0),
		);
		const pixels = await readTrainingPixels(item, plan);
		const mask = await readTrainingMask(item, plan, 'none');
		const file = fs.readFileSync(path.join(FIXTURES, 'data/pixel_values_0.safetensors'));
		const start = 8 + Number(file.readBigUInt64LE(0));
		const expected = new Float32Array(Uint8Array.from(file.subarray(start)).buffer);
		expect([pixels.shape, mask]).toEqual([[1, 3, 64, 64], undefined]);
		expect(pixels.data).toEqual(expected);
	});

	it('has a digest of names, captions and bytes, wherever the folder lies', async () => {
		const rows = [
			{ file_name: 'a.png', text: 'x' },
			{ file_name: 'b.png', text: 'y' },
		];
		const contents = { 'a.png': png(0), 'b.png': png(1), 'metadata.jsonl': jsonl(...rows) };
		const { digest } = await openImageFolder(folder(contents));
		const same = await openImageFolder(folder({ ...contents, 'metadata.jsonl': jsonl(...rows.toReversed()), 'README.md': 'about' }));
		expect(same.digest).toBe(digest);
		const line = (name: string, n: number, caption: string): string =>
			`${JSON.stringify([name, createHash('sha256').update(png(n)).digest('hex'), null, [caption]])}\n`;
		expect(digest).toBe(
			createHash('sha256')
				.update(`lorakit.dataset/1\n${line('a.png', 0, 'x')}${line('b.png', 1, 'y')}`)
				.digest('hex'),
		);
		expect((await openImageFolder(folder({ ...contents, 'b.png': png(2) }))).digest).not.toBe(digest);
	});

	it('reads .txt files beside pictures, sub-folders, other columns, and the nearest metadata.jsonl', async () => {
		const dir = folder({
			'a.png': png(0),
			'a.txt': 'from a file\r\n\nanother caption\n',
			'deep/er/b.jpg': picture('444.jpg'),
			'deep/er/b.txt': 'not this one',
			'deep/c.webp': picture('lossless.webp'),
			'metadata.jsonl': jsonl({ file_name: 'deep/er/b.jpg', prompt: 'of the top' }, { file_name: './deep/c.webp', prompt: ['one', 'two'] }),
			'deep/er/metadata.jsonl': jsonl({ file_name: 'b.jpg', prompt: 'nearest' }),
			'.hidden.png': 'no picture',
			'notes.md': 'no caption',
		});
		const set = await openImageFolder(dir, { captionColumn: 'prompt', onBad: 'refuse' });
		expect(set.items.map(({ name, captions }) => [name, captions])).toEqual([
			['a.png', ['from a file', 'another caption']],
			['deep/c.webp', ['one', 'two']],
			['deep/er/b.jpg', ['nearest']],
		]);
	});

	it('takes one prompt for all of a DreamBooth folder, without captions', async () => {
		const set = await openImageFolder(folder({ '1.png': png(0), '2.jpg': picture('444.jpg'), 'x/3.webp': picture('lossless.webp') }), {
			prompt: 'a zqx crescent',
		});
		expect(set.items.map(({ name, captions }) => [name, captions])).toEqual(
			['1.png', '2.jpg', 'x/3.webp'].map((name) => [name, ['a zqx crescent']]),
		);
		expect(set.skipped).toEqual([]);
	});

	it('turns pictures by EXIF: sizes and pixels', async () => {
		const set = await openImageFolder(folder({ 'a.jpg': picture('exif6.jpg'), 'b.jpg': picture('exif1.jpg') }), { prompt: 'x' });
		expect(set.items.map(({ width, height }) => [width, height])).toEqual([
			[15, 21],
			[21, 15],
		]);
		const whole = (width: number, height: number) =>
			({ filter: 'lanczos', resized: { width, height }, crop: { left: 0, top: 0, width, height }, flip: false }) as const;
		const [turned, plain] = set.items;
		if (turned === undefined || plain === undefined) throw new Error('no pictures');
		const a = (await readTrainingPixels(turned, whole(15, 21))).data;
		const b = (await readTrainingPixels(plain, whole(21, 15))).data;
		// Orientation 6: turned by a quarter clockwise, so (x, y) comes from (y, 14 - x). JPEG blocks are turned after decoding.
		for (let y = 0; y < 21; y++) for (let x = 0; x < 15; x++) expect(a[y * 15 + x]).toBe(b[(14 - x) * 21 + y]);
	});

	it('names everything that cannot be used, and why', async () => {
		const dir = folder({
			'good.png': png(0),
			'empty.png': '',
			'cut.png': png(1).subarray(0, 100),
			'cut.jpg': picture('444.jpg').subarray(0, -50),
			'broken.png': png(2).map((x, i) => (i === 60 ? x ^ 0xff : x)),
			'text.png': 'I am a text',
			'page.jpg': '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>',
			'old.bmp': picture('picture.bmp'),
			'huge.png': sized(30_000, 30_000),
			'moving.gif': picture('animated.gif'),
			'moving.webp': picture('animated.webp'),
			'moving.png': picture('animated.png'),
			'z-again.png': png(0),
			'silent.png': png(3),
			'blank.png': png(4),
			'blank.txt': ' \n',
			'wrong.png': png(5),
			'wrong.txt': Uint8Array.of(0x66, 0xff, 0xfe),
			'gone.txt': 'a caption without a picture',
			'metadata.jsonl': `${jsonl(
				...['good.png', 'empty.png', 'cut.png', 'cut.jpg', 'broken.png', 'text.png', 'page.jpg', 'old.bmp', 'huge.png'].map(
					(file_name) => ({ file_name, text: 'x' }),
				),
				...['moving.gif', 'moving.webp', 'moving.png', 'z-again.png', 'absent.png', 'good.png'].map((file_name) => ({
					file_name,
					text: 'x',
				})),
				{ file_name: '../../etc/passwd.png', text: 'x' },
				{ file_name: '/etc/passwd.png', text: 'x' },
				{ file_name: 'a/../../b.png', text: 'x' },
				{ file_name: 'C:\\b.png', text: 'x' },
			)}this is no JSON\n`,
		});
		const set = await openImageFolder(dir);
		expect(names(set)).toEqual(['good.png']);
		expect(skips(set)).toEqual(
			[
				['empty.png', 'empty'],
				['cut.png', 'corrupt'],
				['cut.jpg', 'corrupt'],
				['broken.png', 'corrupt'],
				['text.png', 'not-a-picture'],
				['page.jpg', 'not-a-picture'],
				['old.bmp', 'not-a-picture'],
				['huge.png', 'huge'],
				['moving.gif', 'animated'],
				['moving.webp', 'animated'],
				['moving.png', 'animated'],
				['z-again.png', 'duplicate'],
				['silent.png', 'no-caption'],
				['blank.png', 'no-caption'],
				['wrong.png', 'bad-caption'],
				['gone.txt', 'no-picture'],
				['metadata.jsonl:14', 'no-picture'],
				['metadata.jsonl:15', 'duplicate'],
				['metadata.jsonl:16', 'unsafe-path'],
				['metadata.jsonl:17', 'unsafe-path'],
				['metadata.jsonl:18', 'unsafe-path'],
				['metadata.jsonl:19', 'unsafe-path'],
				['metadata.jsonl:20', 'bad-line'],
			].sort(),
		);
		for (const { name, message } of set.skipped) {
			expect(message).toMatch(/\.$/);
			expect(message).toContain(
				name.startsWith('metadata.jsonl:') ? `Line ${name.slice(15)} of "metadata.jsonl"` : name.replace(/^wrong.png$/, 'wrong.txt'),
			);
		}
		expect(datasetReport(set).find((line) => line.includes('animated'))).toBe('skipped 3 (animated): moving.gif, moving.png, moving.webp');
		await expect(openImageFolder(dir, { onBad: 'refuse' })).rejects.toThrow(
			refusal('E_FORMAT', /21 of what .* holds cannot be used.* And 11 more\./),
		);
	});

	it('keeps duplicates when asked, and pictures of other captions always', async () => {
		const dir = folder({ 'a.png': png(0), 'a.txt': 'x', 'b.png': png(0), 'b.txt': 'x', 'c.png': png(0), 'c.txt': 'y' });
		expect(names(await openImageFolder(dir))).toEqual(['a.png', 'c.png']);
		expect(names(await openImageFolder(dir, { duplicates: 'keep' }))).toEqual(['a.png', 'b.png', 'c.png']);
		// A duplicate is left out, but nothing is wrong with it.
		expect(names(await openImageFolder(dir, { onBad: 'refuse' }))).toEqual(['a.png', 'c.png']);
	});

	it('follows links within the folder only, and opens no pipes', async () => {
		const outside = folder({ 'secret.png': png(1), 'sub/more.png': png(2) });
		const dir = folder({ 'real/a.png': png(0) });
		fs.symlinkSync(path.join(outside, 'secret.png'), path.join(dir, 'out.png'));
		fs.symlinkSync(path.join(outside, 'sub'), path.join(dir, 'outer'));
		fs.symlinkSync('real/a.png', path.join(dir, 'in.png'));
		fs.symlinkSync('nowhere.png', path.join(dir, 'dangling.png'));
		fs.symlinkSync('..', path.join(dir, 'real/up'));
		fs.symlinkSync('loop.png', path.join(dir, 'loop.png'));
		execFileSync('mkfifo', [path.join(dir, 'pipe.png')]);
		const set = await openImageFolder(dir, { prompt: 'x', duplicates: 'keep' });
		expect(names(set)).toEqual(['in.png', 'real/a.png']);
		expect(skips(set)).toEqual(
			['dangling.png', 'loop.png', 'out.png', 'outer', 'pipe.png', 'real/up'].map((name) => [name, 'unsafe-path']),
		);
	});

	it("follows a snapshot of the Hub's cache into its blobs, and nowhere else", async () => {
		const dir = folder({ 'datasets--o--n/blobs/abc': png(0), 'datasets--o--other/blobs/abc': png(1) });
		const snapshot = path.join(dir, 'datasets--o--n/snapshots/123');
		fs.mkdirSync(snapshot, { recursive: true });
		fs.symlinkSync('../../blobs/abc', path.join(snapshot, 'a.png'));
		fs.symlinkSync('../../../datasets--o--other/blobs/abc', path.join(snapshot, 'b.png'));
		const set = await openImageFolder(snapshot, { prompt: 'x' });
		expect([names(set), skips(set)]).toEqual([['a.png'], [['b.png', 'unsafe-path']]]);
	});

	it('finds masks beside pictures and in a folder of masks; those of another size or broken ones cost the picture', async () => {
		const dir = folder({
			'a.png': picture('rgb.png'),
			'a-mask.png': picture('grey.png'),
			'sub/b.jpg': picture('444.jpg'),
			'masks/sub/b.png': picture('grey.png'),
			'c.png': png(0),
			'masks/c-mask.png': picture('grey.png'),
			'd.png': picture('rgba.png'),
			'masks/d.png': picture('grey.png').subarray(0, 60),
			'e.png': png(1),
			'masks/nobody.png': picture('grey.png'),
			'lone-mask.png': png(2),
		});
		const set = await openImageFolder(dir, { prompt: 'x' });
		expect(set.items.map(({ name, mask }) => [name, mask !== undefined])).toEqual([
			['a.png', true],
			['e.png', false],
			['lone-mask.png', false],
			['sub/b.jpg', true],
		]);
		expect(skips(set)).toEqual([
			['c.png', 'bad-mask'],
			['d.png', 'bad-mask'],
			['masks/nobody.png', 'no-picture'],
		]);
		const [item] = set.items;
		if (item === undefined) throw new Error('no picture');
		const plan = {
			filter: 'lanczos',
			resized: { width: 21, height: 15 },
			crop: { left: 0, top: 0, width: 16, height: 8 },
			flip: false,
		} as const;
		const mask = await readTrainingMask(item, plan, 'file');
		expect(mask?.shape).toEqual([1, 1, 1, 2]);
		// grey.png is (x + y) * 7, but 90 for x from 5 to 13 and y from 4 to 8 (make_pictures.py).
		const mean = (left: number): number => {
			let sum = 0;
			for (let y = 0; y < 8; y++)
				for (let x = left; x < left + 8; x++) sum += x >= 5 && x < 14 && y >= 4 && y < 9 ? 90 : ((x + y) * 7) % 256;
			return sum / 64 / 255;
		};
		expect(Array.from(mask?.data ?? [])).toEqual([Math.fround(mean(0)), Math.fround(mean(8))]);
		expect(await readTrainingMask(item, plan, 'alpha')).toBeUndefined();
	});

	it('takes the transparency of a picture as its mask', async () => {
		const set = await openImageFolder(folder({ 'a.png': picture('rgba.png') }), { prompt: 'x' });
		const [item] = set.items;
		if (item === undefined) throw new Error('no picture');
		const plan = {
			filter: 'box',
			resized: { width: 21, height: 15 },
			crop: { left: 1, top: 0, width: 8, height: 8 },
			flip: false,
		} as const;
		const mask = await readTrainingMask(item, plan, 'alpha');
		let sum = 0;
		for (let y = 0; y < 8; y++) for (let x = 1; x < 9; x++) sum += (x * 13 + y * 17) % 256;
		expect(Array.from(mask?.data ?? [])).toEqual([Math.fround(sum / 64 / 255)]);
	});

	it('tells what is lost of grey pictures in 16 bits', async () => {
		const set = await openImageFolder(folder({ 'a.png': picture('grey16.png') }), { prompt: 'x' });
		expect(set.notes).toEqual([expect.stringMatching(/"a.png" is grey in 16 bits/)]);
	});

	it('notices a picture that was changed after opening', async () => {
		const dir = folder({ 'a.png': png(0) });
		const set = await openImageFolder(dir, { prompt: 'x' });
		fs.writeFileSync(path.join(dir, 'a.png'), png(1));
		await expect(set.items[0]?.read()).rejects.toThrow(refusal('E_INPUT_CHANGED', /"a.png"/));
		fs.rmSync(path.join(dir, 'a.png'));
		await expect(set.items[0]?.read()).rejects.toThrow(refusal('E_IO', /"a.png"/));
	});

	it.each([
		['a folder that is not there', () => path.join(top, 'none'), 'E_IO', /none/],
		['a file', () => path.join(REFERENCE, '00.png'), 'E_NOT_A_FILE', /no folder/],
		['a folder without pictures', () => folder({ 'README.md': '' }), 'E_EMPTY', /holds none/],
		['a folder without captions', () => folder({ 'a.png': png(0) }), 'E_EMPTY', /"a.png" has no caption/],
		['captions as CSV', () => folder({ 'a.png': png(0), 'metadata.csv': 'file_name,text\na.png,x\n' }), 'E_CONFIG', /metadata.csv/],
	])('refuses %s', async (_, make, code, message) => {
		await expect(openImageFolder(make())).rejects.toThrow(refusal(code, message));
	});

	it('only reads headers when told to, and says how far it is', async () => {
		const seen: string[] = [];
		const dir = folder({ 'a.png': png(0), 'b.png': png(1).map((x, i) => (i === 100 ? x ^ 0xff : x)) });
		const set = await openImageFolder(dir, { prompt: 'x', check: 'header', onProgress: (done, total) => seen.push(`${done}/${total}`) });
		expect([names(set), seen]).toEqual([
			['a.png', 'b.png'],
			['1/2', '2/2'],
		]);
		expect(names(await openImageFolder(dir, { prompt: 'x' }))).toEqual(['a.png']);
	});
});
