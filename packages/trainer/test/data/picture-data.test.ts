import { readFileSync } from 'node:fs';
import { createTorchGenerator } from '@lorakit/runtime';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { type AspectBuckets, aspectBuckets } from '../../src/data/aspect-buckets.js';
import { assignSizes } from '../../src/data/assign-sizes.js';
import type { DatasetItem } from '../../src/data/dataset.js';
import { datasetDigest } from '../../src/data/dataset-digest.js';
import { captionLines, MAX_CAPTION_CHARS, metadataLines } from '../../src/data/metadata-lines.js';
import { maskLatents, picturePixels } from '../../src/data/picture-pixels.js';
import { type PicturePlan, planPicture, shorterSideTo } from '../../src/data/plan-picture.js';

type Four = readonly [number, number, number, number];
interface Data {
	readonly pictures: readonly (readonly [number, number])[];
	readonly buckets: readonly {
		readonly resolution: readonly [number, number];
		readonly min: number;
		readonly max: number;
		readonly step: number;
		readonly noUpscale: boolean;
		readonly sizes: readonly (readonly [number, number])[];
		readonly chosen: readonly (Four | null)[];
	}[];
	readonly draws: readonly {
		readonly seed: number;
		readonly cases: readonly {
			readonly picture: readonly [number, number];
			readonly resized: readonly [number, number];
			readonly center: readonly [number, number];
			readonly random: readonly [number, number];
			readonly flip: boolean;
		}[];
	}[];
	readonly masks: {
		readonly width: number;
		readonly height: number;
		readonly data: readonly number[];
		readonly resized: readonly [number, number];
		readonly crop: Four;
		readonly area: Readonly<Record<string, readonly number[]>>;
	};
	readonly normalized: readonly number[];
}

const data = JSON.parse(readFileSync(new URL('../../../../fixtures/training/data/data.json', import.meta.url), 'utf8')) as Data;
const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);
const usage = expect.objectContaining({ name: 'FormatError', code: 'E_USAGE' });

function item(name: string, width: number, height: number): DatasetItem {
	return { name, width, height, captions: [name], sha256: '0'.repeat(64), read: async () => new Uint8Array() };
}

describe('aspectBuckets', () => {
	it.each(data.buckets)("has kohya's sizes and choices: $resolution, step $step, noUpscale $noUpscale", (b) => {
		const [width, height] = b.resolution;
		const made: AspectBuckets = aspectBuckets({
			resolution: { width, height },
			minSide: b.min,
			maxSide: b.max,
			step: b.step,
			noUpscale: b.noUpscale,
		});
		expect(made.sizes.map((size) => [size.width, size.height])).toEqual(b.sizes);
		const chosen = data.pictures.map(([w, h]) => {
			const choice = made.choose({ width: w, height: h });
			return choice === undefined ? null : [choice.bucket.width, choice.bucket.height, choice.resized.width, choice.resized.height];
		});
		expect(chosen).toEqual(b.chosen);
	});

	it.each([
		['a step that is no multiple of 8', { step: 60 }],
		['a shortest side of 0', { minSide: 0 }],
		['a longest side below the resolution', { maxSide: 496 }],
		['a shortest side that is no multiple of 8', { minSide: 100 }],
		['a longest side that is no multiple of 8', { maxSide: 1001 }],
		['a step above the resolution', { step: 2048 }],
		['sides that are no numbers', { minSide: Number.NaN }],
	])('refuses %s', (_, options) => {
		expect(() => aspectBuckets({ resolution: { width: 512, height: 512 }, ...options })).toThrow(usage);
	});
});

describe('planPicture', () => {
	it.each(data.draws)("cuts and flips by torchvision's rules with torch's draws, seed $seed", ({ seed, cases }) => {
		const generator = createTorchGenerator(seed);
		for (const { picture, resized, center, random, flip } of cases) {
			const size = shorterSideTo(64, { width: picture[0], height: picture[1] });
			expect([size.width, size.height]).toEqual(resized);
			const options = { resized: size, target: { width: 64, height: 64 }, filter: 'lanczos' } as const;
			const plan = planPicture({ ...options, crop: 'random', flip: true }, generator);
			expect([[plan.crop.left, plan.crop.top], plan.flip]).toEqual([random, flip]);
			const centred = planPicture({ ...options, crop: 'center', flip: false }, createTorchGenerator(0));
			expect([[centred.crop.left, centred.crop.top], centred.flip]).toEqual([center, false]);
		}
	});

	it('draws nothing where nothing is random', () => {
		const generator = createTorchGenerator(1);
		const before = generator.state();
		planPicture(
			{ resized: { width: 90, height: 70 }, target: { width: 64, height: 64 }, crop: 'center', flip: false, filter: 'box' },
			generator,
		);
		expect(generator.state()).toEqual(before);
	});

	it('refuses to cut more than there is', () => {
		const options = {
			resized: { width: 60, height: 64 },
			target: { width: 64, height: 64 },
			crop: 'random',
			flip: false,
			filter: 'box',
		} as const;
		expect(() => planPicture(options, createTorchGenerator(0))).toThrow(usage);
	});
});

describe('picturePixels and maskLatents', () => {
	const same = (width: number, height: number): PicturePlan => ({
		filter: 'lanczos',
		resized: { width, height },
		crop: { left: 0, top: 0, width, height },
		flip: false,
	});

	it("normalizes every byte to torch's float32, planes of colour", () => {
		const bytes = Uint8Array.from({ length: 3 * 256 }, (_, i) => (i % 3 === 0 ? i / 3 : i % 3 === 1 ? 255 - (i - 1) / 3 : 0));
		const { shape, data: values } = picturePixels({ width: 256, height: 1, channels: 3, data: bytes }, same(256, 1));
		expect(shape).toEqual([1, 3, 1, 256]);
		const expected = Float32Array.from(data.normalized);
		expect(values.slice(0, 256)).toEqual(expected);
		expect(values.slice(256, 512)).toEqual(expected.slice().reverse());
		expect(values.slice(512)).toEqual(new Float32Array(256).fill(-1));
	});

	it('flips after cutting', () => {
		const grey = Uint8Array.from({ length: 3 * 5 }, (_, i) => Math.floor(i / 3) * 10);
		const plan = { ...same(5, 1), crop: { left: 1, top: 0, width: 3, height: 1 }, flip: true };
		const { data: values } = picturePixels({ width: 5, height: 1, channels: 3, data: grey }, plan);
		expect(Array.from(values.slice(0, 3))).toEqual([30, 20, 10].map((x) => data.normalized[x]));
	});

	it.each(Object.entries(data.masks.area))(
		"brings a mask to latents of %s pixels as torch's area interpolation does",
		(factor, expected) => {
			const { width, height, data: values, resized, crop } = data.masks;
			const plan: PicturePlan = {
				filter: 'lanczos',
				resized: { width: resized[0], height: resized[1] },
				crop: { left: crop[0], top: crop[1], width: crop[2], height: crop[3] },
				flip: false,
			};
			const out = maskLatents({ width, height, channels: 1, data: Uint8Array.from(values) }, plan, Number(factor));
			expect(out.shape).toEqual([1, 1, 48 / Number(factor), 48 / Number(factor)]);
			// torch adds up to 64 float32 numbers below 1 one after the other: 64 roundings of 2^-24 at most.
			for (const [i, x] of expected.entries()) expect(Math.abs((out.data[i] ?? 0) - x)).toBeLessThan(64 * 2 ** -24);
		},
	);

	it('refuses a plan beyond the picture, and masks that are none', () => {
		const picture = { width: 8, height: 8, channels: 1, data: new Uint8Array(64) } as const;
		const beyond = { ...same(8, 8), crop: { left: 1, top: 0, width: 8, height: 8 } };
		expect(() => maskLatents(picture, beyond, 8)).toThrow(usage);
		expect(() => maskLatents(picture, same(8, 8), 3)).toThrow(usage);
		expect(() => picturePixels(picture, same(8, 8))).toThrow(usage);
	});
});

describe('assignSizes', () => {
	it('gives a square as torchvision does, and buckets', () => {
		const items = [item('wide', 130, 100), item('small', 7, 30), item('line', 60_000, 1)];
		const square = assignSizes(items, { square: 64 });
		expect(square.items.map(({ resized }) => resized)).toEqual([
			{ width: 83, height: 64 },
			{ width: 64, height: 274 },
		]);
		expect(square.skipped).toEqual([expect.objectContaining({ name: 'line', reason: 'huge' })]);
		const buckets = aspectBuckets({ resolution: { width: 64, height: 64 }, step: 8, noUpscale: true });
		const bucketed = assignSizes(items.slice(0, 2), { buckets });
		expect(bucketed.items.map(({ item, bucket }) => [item.name, bucket.width, bucket.height])).toEqual([['wide', 72, 56]]);
		expect(bucketed.skipped).toEqual([expect.objectContaining({ name: 'small', reason: 'too-small' })]);
		expect(() => assignSizes(items.slice(0, 2), { buckets }, 'refuse')).toThrow(usage);
	});
});

describe('metadataLines', () => {
	it('reads captions, lists of captions and other columns', () => {
		const text =
			'\ufeff{"file_name": "a.png", "text": "one"}\r\n\n{"file_name": "b/c.png", "text": ["x", "y", " "]}\n{"file_name":"d.png","text":null}';
		expect(metadataLines(utf8(text), 'text')).toEqual([
			{ line: 1, fileName: 'a.png', captions: ['one'] },
			{ line: 3, fileName: 'b/c.png', captions: ['x', 'y'] },
			{ line: 4, fileName: 'd.png', captions: [] },
		]);
		expect(metadataLines(utf8('{"file_name":"a.png","text":"no","prompt":"yes"}'), 'prompt')).toEqual([
			{ line: 1, fileName: 'a.png', captions: ['yes'] },
		]);
	});

	it.each([
		['no JSON', utf8('{"file_name": '), 'bad-line'],
		['a list', utf8('[1]'), 'bad-line'],
		['no file_name', utf8('{"text": "a"}'), 'bad-line'],
		['a file_name that is no text', utf8('{"file_name": 3}'), 'bad-line'],
		['a file_name of the prototype', utf8('{"__proto__": {"file_name": "a.png"}}'), 'bad-line'],
		['a caption that is no text', utf8('{"file_name": "a.png", "text": 3}'), 'bad-caption'],
		['half a surrogate pair', utf8('{"file_name": "a.png", "text": "\\ud800"}'), 'bad-caption'],
		['NUL', utf8('{"file_name": "a.png", "text": "a\\u0000b"}'), 'bad-caption'],
		['bytes that are not UTF-8', Uint8Array.of(0x7b, 0x22, 0xff, 0xfe, 0x22, 0x7d), 'bad-caption'],
		['a caption that is too long', utf8(JSON.stringify({ file_name: 'a.png', text: 'x'.repeat(MAX_CAPTION_CHARS + 1) })), 'bad-caption'],
	])('names %s and goes on', (_, bytes, reason) => {
		const good = utf8('\n{"file_name": "z.png", "text": "z"}');
		const both = new Uint8Array([...bytes, ...good]);
		expect(metadataLines(both, 'text')).toEqual([
			{ line: 1, reason, message: expect.stringMatching(/\.$/) },
			{ line: 2, fileName: 'z.png', captions: ['z'] },
		]);
	});

	it('throws for no bytes at all', () => {
		const pieces = fc.oneof(
			fc.uint8Array({ maxLength: 40 }),
			fc.json().map(utf8),
			fc.constant(utf8('\n')),
			fc.constant(utf8('{"file_name":"a.png","text":')),
		);
		fc.assert(
			fc.property(fc.array(pieces), (parts) => {
				const bytes = new Uint8Array(parts.flatMap((part) => [...part]));
				const lines = metadataLines(bytes, 'text').map(({ line }) => line);
				expect(lines).toEqual([...new Set(lines)].sort((a, b) => a - b));
				captionLines(bytes);
			}),
			{ numRuns: 300, seed: 9 },
		);
	});

	it('takes every line of a caption file as a caption', () => {
		expect(captionLines(utf8(' a fox \r\n\r\na red fox\n'))).toEqual({ captions: ['a fox', 'a red fox'] });
		expect(captionLines(utf8(' \n'))).toEqual({ captions: [] });
		expect(captionLines(Uint8Array.of(0xff, 0xfe, 0x61, 0x00))).toEqual({ wrong: expect.stringMatching(/UTF-8/) });
	});
});

describe('datasetDigest', () => {
	const one = { name: 'a.png', sha256: 'a'.repeat(64), captions: ['x'] };
	it('changes with each part and with the order, and with nothing else', () => {
		const base = datasetDigest([one, { ...one, name: 'b.png' }]);
		expect(base).toMatch(/^[0-9a-f]{64}$/);
		const others = [
			datasetDigest([one]),
			datasetDigest([{ ...one, name: 'b.png' }, one]),
			datasetDigest([one, { ...one, name: 'b.png', captions: ['x', 'x'] }]),
			datasetDigest([one, { ...one, name: 'b.png', captions: ['y'] }]),
			datasetDigest([one, { ...one, name: 'b.png', sha256: 'b'.repeat(64) }]),
			datasetDigest([one, { ...one, name: 'b.png', mask: { sha256: 'c'.repeat(64) } }]),
		];
		expect(new Set([base, ...others]).size).toBe(7);
		expect(datasetDigest([{ ...one }, { ...one, name: 'b.png' }])).toBe(base);
	});

	it('keeps its form: a digest in a file is compared with one made later', () => {
		// printf '%s\n' 'lorakit.dataset/1' '["a.png","aaaa…(64)",null,["x"]]' | sha256sum
		expect(datasetDigest([one])).toBe('33d51bd4ecaa0be614ac2bb1e164c41f214e8f1f318ccc60d8fe0ddfb4913db5');
	});
});
