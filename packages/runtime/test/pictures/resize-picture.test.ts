import { readFileSync } from 'node:fs';
import { decode } from 'fast-png';
import { describe, expect, it } from 'vitest';
import { MAX_PICTURE_PIXELS, type Picture, RESAMPLE_FILTERS, type ResampleFilter, resizePicture } from '../../src/pictures/index.js';

const FOLDER = new URL('../../../../fixtures/training/resize/', import.meta.url);

interface Stored {
	readonly width: number;
	readonly height: number;
	readonly at: number;
	readonly bytes: number;
}
interface PillowCases {
	readonly inputs: Readonly<Record<string, Stored & { readonly channels: 1 | 3 }>>;
	readonly cases: readonly (Stored & { readonly input: string; readonly filter: ResampleFilter })[];
}

const { inputs, cases } = JSON.parse(readFileSync(new URL('pillow.json', FOLDER), 'utf8')) as PillowCases;
const blob = new Uint8Array(readFileSync(new URL('pillow.bin', FOLDER)));
const stored = ({ at, bytes }: Stored): Uint8Array => blob.subarray(at, at + bytes);

function png(name: string): Picture {
	const { width, height, channels, data } = decode(readFileSync(new URL(name, FOLDER)));
	expect(channels).toBe(3);
	return { width, height, channels: 3, data: Uint8Array.from(data) };
}

/** Largest difference in grey levels. */
function worst(a: ArrayLike<number>, b: ArrayLike<number>): number {
	expect(a.length).toBe(b.length);
	let most = 0;
	for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs((a[i] ?? 0) - (b[i] ?? 0)));
	return most;
}

describe('resizePicture', () => {
	it('has cases of every filter', () => {
		expect(new Set(cases.map(({ filter }) => filter))).toEqual(new Set(RESAMPLE_FILTERS));
		expect(cases).toHaveLength(80);
	});

	it.each(cases.map((c) => [`${c.input} to ${c.width}x${c.height} ${c.filter}`, c] as const))(
		"%s is Pillow's, to the grey level",
		(_, c) => {
			const input = inputs[c.input];
			if (input === undefined) throw new Error('no such input');
			const picture = { width: input.width, height: input.height, channels: input.channels, data: stored(input) };
			const out = resizePicture(picture, c.width, c.height, c.filter);
			expect([out.width, out.height, out.channels]).toEqual([c.width, c.height, input.channels]);
			expect(worst(out.data, stored(c))).toBe(0);
		},
	);

	it.each(['bilinear', 'bicubic', 'lanczos'] as const)(
		"%s: Resize(64) and CenterCrop(64) of the reference set are torchvision's",
		(filter) => {
			const input = png('input-130x100.png');
			const { data } = resizePicture(input, 83, 64, filter);
			const expected = png(`${filter}-64.png`);
			const cropped: number[] = [];
			// round((83 - 64) / 2) = round(9.5) = 10, to even.
			for (let y = 0; y < 64; y++) cropped.push(...data.subarray(3 * (y * 83 + 10), 3 * (y * 83 + 74)));
			expect(worst(cropped, expected.data)).toBe(0);
		},
	);

	it.each([
		['a side of 0', 0, 4, 'E_USAGE'],
		['a side that is no whole number', 4, 2.5, 'E_USAGE'],
		['more pixels than the limit', MAX_PICTURE_PIXELS, 2, 'E_LIMIT'],
	])('refuses %s', (_, width, height, code) => {
		const picture: Picture = { width: 2, height: 2, channels: 1, data: new Uint8Array(4) };
		expect(() => resizePicture(picture, width, height, 'box')).toThrow(expect.objectContaining({ name: 'FormatError', code }));
	});

	it('refuses data that are shorter than the sides say', () => {
		const picture: Picture = { width: 2, height: 2, channels: 3, data: new Uint8Array(11) };
		expect(() => resizePicture(picture, 4, 4, 'box')).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
	});
});
