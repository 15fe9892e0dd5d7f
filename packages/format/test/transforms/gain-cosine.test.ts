import { describe, expect, it } from 'vitest';
import { cosineOf, type DeltaProducts, deltaProducts, gainOf, NO_PRODUCTS, totalProducts } from '../../src/transforms/gain-cosine.js';

/** Expected delta (3, 4): norm 5. Every number below is by hand. */
const CASES: readonly (readonly [what: string, actual: readonly number[], products: DeltaProducts, gain: number, cosine: number])[] = [
	['right', [3, 4], { ee: 25, aa: 25, ae: 25 }, 1, 1],
	['twice', [6, 8], { ee: 25, aa: 100, ae: 50 }, 2, 1],
	['a quarter', [0.75, 1], { ee: 25, aa: 1.5625, ae: 6.25 }, 0.25, 1],
	['subtracted', [-3, -4], { ee: 25, aa: 25, ae: -25 }, -1, -1],
	['not applied', [0, 0], { ee: 25, aa: 0, ae: 0 }, 0, Number.NaN],
	['perpendicular', [-4, 3], { ee: 25, aa: 25, ae: 0 }, 0, 0],
	['elements exchanged', [4, 3], { ee: 25, aa: 25, ae: 24 }, 24 / 25, 24 / 25],
	// The expected delta and as much again across it: gain 1, at 45 degrees.
	['right and something else', [-1, 7], { ee: 25, aa: 50, ae: 25 }, 1, Math.SQRT1_2],
	['not finite', [Number.NaN, 4], { ee: 25, aa: Number.NaN, ae: Number.NaN }, Number.NaN, Number.NaN],
];

describe('gain and cosine', () => {
	it.each(CASES)('%s', (_, actual, products, gain, cosine) => {
		expect(deltaProducts(actual, Float64Array.of(3, 4))).toEqual(products);
		expect(gainOf(products)).toBe(gain);
		if (Number.isNaN(cosine)) expect(cosineOf(products)).toBeNaN();
		else expect(cosineOf(products)).toBeCloseTo(cosine, 15);
	});

	it('have no value where nothing was expected', () => {
		const products = deltaProducts([1, 2], [0, 0]);
		expect(products).toEqual({ ee: 0, aa: 5, ae: 0 });
		expect(gainOf(products)).toBeNaN();
		expect(cosineOf(products)).toBeNaN();
		expect(gainOf(NO_PRODUCTS)).toBeNaN();
		expect(cosineOf(NO_PRODUCTS)).toBeNaN();
	});

	it('are exactly 1 of a delta to itself', () => {
		const delta = [0.1, -0.7, 1 / 3];
		const products = deltaProducts(delta, delta);
		expect([gainOf(products), cosineOf(products)]).toEqual([1, 1]);
	});

	it('add up over blocks and over tensors', () => {
		// Actual (1, 2, 3, 4), expected (2, 0, 1, 1).
		const whole = { ee: 6, aa: 30, ae: 9 };
		const first = deltaProducts([1, 2], [2, 0]);
		expect(first).toEqual({ ee: 4, aa: 5, ae: 2 });
		expect(deltaProducts([3, 4], [1, 1], first)).toEqual(whole);
		expect(totalProducts([first, deltaProducts([3, 4], [1, 1])])).toEqual(whole);
		expect(totalProducts([])).toEqual({ ee: 0, aa: 0, ae: 0 });
		expect(gainOf(whole)).toBe(1.5);
		expect(cosineOf(whole)).toBeCloseTo(9 / Math.sqrt(180), 15);
	});

	it('read no further than what is expected', () => {
		expect(deltaProducts([3, 4, 100], [3, 4])).toEqual({ ee: 25, aa: 25, ae: 25 });
	});
});
