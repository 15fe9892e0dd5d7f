import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createTorchGenerator } from '@lorakit/runtime';
import { describe, expect, it } from 'vitest';
import { picturePixels } from '../../src/data/picture-pixels.js';
import { mirroredPlan, planPicture, shorterSideTo, timeIdsOf } from '../../src/data/plan-picture.js';

interface Cuts {
	readonly resolution: number;
	readonly filter: 'lanczos';
	readonly cases: readonly {
		readonly size: readonly [number, number];
		readonly center: boolean;
		readonly flip: boolean;
		readonly seed: number;
		readonly time_ids: readonly number[];
		readonly sha256: string;
	}[];
}

/** `preprocess_train` and `compute_time_ids` of diffusers' SDXL script, run: scripts/reference/make-sdxl-training-references.py. */
const { resolution, filter, cases } = JSON.parse(
	readFileSync(new URL('../../../../fixtures/training/sdxl/cuts.json', import.meta.url), 'utf8'),
) as Cuts;

describe('what SDXL is told of a picture', () => {
	it.each(cases)(
		"is diffusers', as are the pixels: $size, middle $center, mirrored $flip",
		({ size, center, flip, seed, time_ids, sha256 }) => {
			const [width, height] = size;
			const target = { width: resolution, height: resolution };
			const resized = shorterSideTo(resolution, { width, height });
			const drawn = planPicture({ resized, target, crop: center ? 'center' : 'random', flip: false, filter }, createTorchGenerator(seed));
			const plan = flip ? mirroredPlan(drawn, true) : drawn;
			expect(timeIdsOf({ width, height }, plan)).toEqual(time_ids);
			const data = Uint8Array.from({ length: width * height * 3 }, (_, i) => {
				const [x, y, c] = [Math.floor(i / 3) % width, Math.floor(i / 3 / width), i % 3];
				return (7 * x + 13 * y + 29 * c + x * y) % 256;
			});
			const pixels = picturePixels({ width, height, channels: 3, data }, plan).data;
			const area = resolution * resolution;
			const bytes = Uint8Array.from({ length: 3 * area }, (_, i) =>
				Math.round((((pixels[(i % 3) * area + Math.floor(i / 3)] ?? 0) + 1) / 2) * 255),
			);
			expect(createHash('sha256').update(bytes).digest('hex')).toBe(sha256);
		},
	);

	it('says the same cut whichever way it was mirrored', () => {
		// Mirrored after the cut, as the scripts of Stable Diffusion 1 do it: the cut lies on the other side of the mirrored picture.
		const options = { resized: { width: 100, height: 64 }, target: { width: 64, height: 64 }, crop: 'random', flip: true, filter } as const;
		let mirrored = 0;
		for (let seed = 0; seed < 20; seed++) {
			const after = planPicture(options, createTorchGenerator(seed));
			const before = planPicture({ ...options, flipFirst: true }, createTorchGenerator(seed));
			expect(before.flip).toBe(after.flip);
			if (!after.flip) continue;
			mirrored++;
			expect(before.crop.left).toBe(36 - after.crop.left);
			// The drawn number is where the cut lies in the mirrored picture.
			expect(timeIdsOf({ width: 200, height: 128 }, before)).toEqual([128, 200, 0, after.crop.left, 64, 64]);
		}
		expect(mirrored).toBeGreaterThan(3);
	});
});
