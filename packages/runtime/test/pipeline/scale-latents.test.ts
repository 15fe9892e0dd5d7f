import { describe, expect, it } from 'vitest';
import { scaleLatents } from '../../src/index.js';

describe('scaleLatents', () => {
	it('without a shift is one product in float32', () => {
		expect([...scaleLatents({ scalingFactor: 0.18215, shiftFactor: undefined }, Float32Array.of(1, -2.5))]).toEqual([
			Math.fround(0.18215),
			Math.fround(-2.5 * Math.fround(0.18215)),
		]);
	});

	it('takes the shift off first, as diffusers does for SD3', () => {
		// torch 2.13: (torch.tensor([1.0, -2.5, 0.1234567, 3.25]) - 0.0609) * 1.5305
		const want = [1.4372926950454712, -3.91945743560791, 0.09574303030967712, 4.880917549133301];
		expect([...scaleLatents({ scalingFactor: 1.5305, shiftFactor: 0.0609 }, Float32Array.of(1, -2.5, 0.1234567, 3.25))]).toEqual(want);
	});
});
