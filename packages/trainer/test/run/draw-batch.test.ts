import { describe, expect, it } from 'vitest';
import { noiseOf } from '../../src/io/train/validate-run.js';
import { parseRunConfig } from '../../src/run/config/parse-run-config.js';
import { drawBatch } from '../../src/run/diffusion-batches.js';
import { createRandomStreams } from '../../src/run/random-streams.js';

const config = parseRunConfig({ base: 'base', data: { path: 'set' }, output: { folder: 'out' } }, 'text-to-image', { name: 'the test' });

describe('the latents of a batch', () => {
	it.each([
		[0.18215, undefined],
		[1.5305, 0.0609],
	])('are scaled by %s, the shift %s taken off first', (scalingFactor, shiftFactor) => {
		const mean = Float32Array.of(1, -2.5, 0.1234567, 3.25);
		const noise = noiseOf(config, 1000, { scalingFactor, shiftFactor });
		const { latents } = drawBatch([{ shape: [1, 2, 2], mean }], ['a'], { ids: [[0]] }, [1], noise, createRandomStreams(3));
		for (const [i, x] of mean.entries()) {
			// diffusers' scripts: (latents - shift_factor) * scaling_factor; three roundings of float32.
			const expected = (x - (shiftFactor ?? 0)) * scalingFactor;
			expect(Math.abs((latents.data[i] ?? Number.NaN) / expected - 1)).toBeLessThan(2e-7);
		}
	});
});
