import { mkdtempSync, readFileSync, writeFileSync } from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { decodePicture, MAX_PICTURE_BYTES, readPictureHeader } from '../../../src/io/pictures/index.js';
import { loadSharp } from '../../../src/io/pictures/load-sharp.js';
import { checkPictureBytes } from '../../../src/io/pictures/picture-header.js';

const FOLDER = fileURLToPath(new URL('../../../../../fixtures/training/pictures/', import.meta.url));
const file = (name: string): Uint8Array => new Uint8Array(readFileSync(path.join(FOLDER, name)));

interface Pillow {
	readonly width: number;
	readonly height: number;
	readonly orientation: number;
	readonly frames: number;
	readonly at: number;
	readonly alpha_at?: number;
	readonly white_at?: number;
}
const { pictures } = JSON.parse(readFileSync(path.join(FOLDER, 'pillow.json'), 'utf8')) as { readonly pictures: Record<string, Pillow> };
const blob = file('pillow.bin');
const single = Object.entries(pictures).filter(([, { frames }]) => frames === 1);
const several = Object.entries(pictures).filter(([, { frames }]) => frames > 1);

const code = (code: string, message: RegExp = /./) =>
	expect.objectContaining({ name: 'FormatError', code, message: expect.stringMatching(message) });

/** Places where two pictures differ. */
function differences(a: Uint8Array, b: Uint8Array): number {
	expect(a.length).toBe(b.length);
	return a.reduce((n, x, i) => n + (x === b[i] ? 0 : 1), 0);
}

describe('decodePicture', () => {
	it.each(single)("%s is Pillow's convert('RGB'), upright, to the grey level", async (name, expected) => {
		const { width, height, at, orientation } = expected;
		const picture = await decodePicture(path.join(FOLDER, name));
		expect([picture.width, picture.height, picture.channels]).toEqual([width, height, 3]);
		expect(picture.header.orientation).toBe(orientation);
		expect(differences(picture.data, blob.subarray(at, at + 3 * width * height))).toBe(0);
	});

	it.each(single.filter(([, p]) => p.alpha_at !== undefined))("%s has Pillow's alpha", async (name, { width, height, alpha_at = 0 }) => {
		const { alpha, header } = await decodePicture(file(name), { name });
		expect(header.alpha).toBe(true);
		expect(differences(alpha ?? new Uint8Array(0), blob.subarray(alpha_at, alpha_at + width * height))).toBe(0);
	});

	it.each(single.filter(([, p]) => p.white_at !== undefined))(
		'%s over white is what Pillow pastes',
		async (name, { width, height, white_at = 0 }) => {
			const { data } = await decodePicture(file(name), { name, alpha: 'white' });
			expect(differences(data, blob.subarray(white_at, white_at + 3 * width * height))).toBe(0);
		},
	);

	it.each(several)('%s is refused for its frames, and its first frame is taken when asked', async (name, { frames, width, height, at }) => {
		await expect(decodePicture(file(name), { name })).rejects.toThrow(
			code('E_FORMAT', new RegExp(`"${name}" is a .* of ${frames} frames`)),
		);
		expect(await readPictureHeader(file(name), name)).toMatchObject({ frames, width, height });
		const { data } = await decodePicture(file(name), { name, firstFrame: true });
		expect(differences(data, blob.subarray(at, at + 3 * width * height))).toBe(0);
	});

	it('says what grey of 16 bits loses, and nothing where it loses nothing', async () => {
		expect((await decodePicture(file('grey16.png'), { name: 'grey16.png' })).notes).toEqual([
			expect.stringMatching(/"grey16.png" .* pixels became white/),
		]);
		expect((await decodePicture(file('grey16-dark.png'))).notes).toEqual([]);
	});

	it('decodes AVIF', async () => {
		expect(await decodePicture(file('picture.avif'))).toMatchObject({ width: 21, height: 15, header: { format: 'AVIF', frames: 1 } });
	});

	it.each([
		['no bytes', 'E_EMPTY', () => new Uint8Array(0)],
		['text', 'E_FORMAT', () => new TextEncoder().encode('a red fox, best quality')],
		['SVG', 'E_FORMAT', () => new TextEncoder().encode('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>')],
		['BMP', 'E_FORMAT', () => file('picture.bmp')],
		['only a signature', 'E_TRUNCATED', () => file('rgb.png').subarray(0, 8)],
		['a PNG without its end', 'E_TRUNCATED', () => file('rgb.png').subarray(0, 90)],
		['a JPEG without its end', 'E_TRUNCATED', () => file('420.jpg').subarray(0, -40)],
		['a WebP without its end', 'E_TRUNCATED', () => file('lossy.webp').subarray(0, -10)],
		['a GIF without its end', 'E_TRUNCATED', () => file('one.gif').subarray(0, -60)],
		['a PNG with a broken byte', 'E_FORMAT', () => changed(file('rgb.png'), 60)],
		['a PNG that says 30000x30000', 'E_LIMIT', () => pngOf(30_000, 30_000)],
		['a PNG that says 0x5', 'E_LIMIT', () => pngOf(0, 5)],
		['a PNG that says 100000x1', 'E_LIMIT', () => pngOf(100_000, 1)],
	])('refuses %s, naming the file', async (_, expected, make) => {
		await expect(decodePicture(make(), { name: 'bad.png' })).rejects.toThrow(code(expected, /"bad.png"/));
		await expect(decodePicture(make(), { name: 'bad.png' })).rejects.toThrow(code(expected, /\.$|sharp/));
	});

	it('refuses a JPEG of more pixels than the limit by its header alone', async () => {
		const bytes = file('420.jpg');
		const frame = bytes.findIndex((x, i) => x === 0xff && bytes[i + 1] === 0xc0);
		await expect(decodePicture(sized(bytes, frame + 5, 40_000, 40_000), { name: 'huge.jpg' })).rejects.toThrow(
			code('E_LIMIT', /"huge.jpg" says it is 40000x40000/),
		);
	});

	it('refuses a file by its size', () => {
		expect(() => checkPictureBytes(MAX_PICTURE_BYTES, 'a.png')).not.toThrow();
		expect(() => checkPictureBytes(MAX_PICTURE_BYTES + 1, 'a.png')).toThrow(code('E_LIMIT', /"a.png"/));
	});

	it('refuses a path that is none, and a folder', async () => {
		const folder = mkdtempSync(path.join(os.tmpdir(), 'pictures-'));
		await expect(decodePicture(path.join(folder, 'none.png'))).rejects.toThrow(code('E_IO'));
		await expect(decodePicture(folder)).rejects.toThrow(code('E_NOT_A_FILE'));
		writeFileSync(path.join(folder, 'empty.png'), '');
		await expect(decodePicture(path.join(folder, 'empty.png'))).rejects.toThrow(code('E_EMPTY', /empty\.png/));
	});

	it('throws nothing but FormatError for changed and cut files', async () => {
		const names = [
			'rgb.png',
			'420.jpg',
			'progressive.jpg',
			'lossy.webp',
			'alpha.webp',
			'one.gif',
			'transparent.gif',
			'rgb.tif',
			'cmyk.jpg',
			'picture.avif',
			'animated.png',
		];
		const hurt = fc.tuple(fc.constantFrom(...names), fc.nat(), fc.integer({ min: 1, max: 255 }), fc.option(fc.nat(), { nil: undefined }));
		await fc.assert(
			fc.asyncProperty(hurt, async ([name, at, flip, cut]) => {
				const bytes = changed(file(name), at % file(name).length, flip);
				const outcome = await decodePicture(cut === undefined ? bytes : bytes.subarray(0, cut % bytes.length), { name }).catch(
					(e: unknown) => e,
				);
				if (outcome instanceof Error) {
					expect(outcome.name).toBe('FormatError');
					expect(outcome.message).toContain(`"${name}"`);
				}
			}),
			{ numRuns: 150, seed: 8 },
		);
	});

	it('says how to get the decoder where it is not installed', async () => {
		const missing = Object.assign(new Error("Cannot find package 'sharp'"), { code: 'ERR_MODULE_NOT_FOUND' });
		await expect(loadSharp(() => Promise.reject(missing))).rejects.toThrow(code('E_USAGE', /not installed: npm install sharp/));
		await expect(
			loadSharp(() => Promise.reject(new Error('\nCould not load the "sharp" module using the linux-x64 runtime'))),
		).rejects.toThrow(code('E_USAGE', /does not load here \(Could not load/));
	});
});

function changed(bytes: Uint8Array, at: number, flip = 0xff): Uint8Array {
	return bytes.map((x, i) => (i === at ? x ^ flip : x));
}

/** rgb.png with another size in its header; the checksum is then wrong, but sizes come first. */
function pngOf(width: number, height: number): Uint8Array {
	const bytes = Uint8Array.from(file('rgb.png'));
	const view = new DataView(bytes.buffer);
	view.setUint32(16, width);
	view.setUint32(20, height);
	return bytes;
}

/** The sides of a JPEG written anew: height first. */
function sized(bytes: Uint8Array, at: number, width: number, height: number): Uint8Array {
	const out = Uint8Array.from(bytes);
	const view = new DataView(out.buffer);
	view.setUint16(at, height);
	view.setUint16(at + 2, width);
	return out;
}
