import fc from 'fast-check';
import { beforeAll, describe, expect, it } from 'vitest';
import { useKernel } from '../../src/kernel/index.js';
import { lazySvdOfProduct, singularValuesOfProduct, svdOfProduct } from '../../src/linalg/svd-of-product.js';
import {
	expectOrthonormal,
	expectSvd,
	FIXTURE,
	factorsOf,
	largestDifference,
	matrix,
	naiveProduct,
	randomMatrix,
	rebuild,
} from './matrices.js';

describe.each(['typescript', 'wasm-simd'] as const)('with the %s kernel', (id) => {
	beforeAll(async () => {
		await useKernel(id);
	});

	describe.each(FIXTURE.products)('$name', (product) => {
		const [up, down] = factorsOf(product);
		const largest = product.values[0] ?? 0;

		it("has numpy's singular values", () => {
			expect(largestDifference(singularValuesOfProduct(up, down), product.values)).toBeLessThan(1e-13 * largest);
		});

		it('is a decomposition', () => {
			expectSvd(svdOfProduct(up, down), naiveProduct(up, down));
		});

		it('gives the leading triplets alone', () => {
			const rank = Math.min(5, product.values.length);
			const some = svdOfProduct(up, down, { rank });
			expect(largestDifference(some.s, product.values.slice(0, rank))).toBeLessThan(1e-13 * largest);
			expect([some.u.cols, some.v.cols]).toEqual([rank, rank]);
			expectOrthonormal(some.u);
			expectOrthonormal(some.v);
			// The best approximation: what is left has the next value as its norm, and the rest as its energy.
			const best = rebuild(some).data;
			const rest = naiveProduct(up, down).data.map((x, i) => x - (best[i] ?? 0));
			const energy = product.values.slice(rank).reduce((sum, s) => sum + s * s, 0);
			expect(rest.reduce((sum, x) => sum + x * x, 0)).toBeCloseTo(energy, 10);
		});

		it('knows the energy', () => {
			const svd = lazySvdOfProduct(up, down);
			const energy = product.values.reduce((sum, s) => sum + s * s, 0);
			expect(Math.abs(svd.squaredNorm - energy)).toBeLessThan(1e-13 * energy);
			expect(Math.abs(lazySvdOfProduct(up, down, { allValues: false }).squaredNorm - energy)).toBeLessThan(1e-13 * energy);
		});
	});

	it('finds the values of a diagonal', () => {
		const up = matrix(4, 3, [3, 0, 0, 0, -5, 0, 0, 0, 0.5, 0, 0, 0]);
		const down = matrix(3, 3, [2, 0, 0, 0, 1, 0, 0, 0, 4]);
		const svd = svdOfProduct(up, down);
		expect(largestDifference(svd.s, [6, 5, 2])).toBeLessThan(1e-14);
		expectSvd(svd, naiveProduct(up, down));
	});

	it('takes columns that depend on each other, also exactly', () => {
		const up = randomMatrix(40, 10, 21);
		for (let i = 0; i < 40; i++) up.data[i * 10 + 7] = up.data[i * 10 + 2] ?? 0;
		const down = randomMatrix(10, 30, 22);
		const svd = svdOfProduct(up, down);
		expect(svd.s[9]).toBeLessThan(1e-14 * (svd.s[0] ?? 0));
		expectSvd(svd, naiveProduct(up, down));
	});

	it('sees a product that cancels', () => {
		// up = [b, b], down = [a; -a]: the delta is zero although the factors are not.
		const b = randomMatrix(30, 4, 31);
		const a = randomMatrix(4, 20, 32);
		const up = matrix(
			30,
			8,
			Array.from({ length: 240 }, (_, i) => b.data[Math.floor(i / 8) * 4 + (i % 4)] ?? 0),
		);
		const down = matrix(8, 20, [...a.data, ...a.data.map((x) => -x)]);
		expect(singularValuesOfProduct(up, down)[0]).toBeLessThan(1e-14);
	});

	it('takes zeros and empty factors', () => {
		const zero = svdOfProduct(matrix(5, 2, new Float64Array(10)), randomMatrix(2, 6, 1));
		expect(Array.from(zero.s)).toEqual([0, 0]);
		expectOrthonormal(zero.u);
		expectOrthonormal(zero.v);
		expect(svdOfProduct(matrix(5, 0, []), matrix(0, 6, [])).s.length).toBe(0);
		expect(singularValuesOfProduct(matrix(0, 2, []), matrix(2, 6, new Float64Array(12))).length).toBe(0);
		expect(svdOfProduct(randomMatrix(5, 2, 1), randomMatrix(2, 6, 2), { rank: 0 }).s.length).toBe(0);
	});

	it.each([2 ** 200, 2 ** -200, 2 ** 500, 2 ** -400])('is not led astray by factors of size %d', (size) => {
		const up = randomMatrix(20, 4, 5);
		const down = randomMatrix(4, 15, 6);
		const large = { ...up, data: up.data.map((x) => x * size) };
		const got = svdOfProduct(large, down);
		const want = singularValuesOfProduct(up, down);
		expect(
			largestDifference(
				got.s.map((s) => s / size),
				want,
			),
		).toBeLessThan(1e-13 * (want[0] ?? 0));
		expectOrthonormal(got.u);
	});

	it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('refuses %d, naming the module', (bad) => {
		const up = randomMatrix(20, 4, 5);
		up.data[7] = bad;
		const down = randomMatrix(4, 15, 6);
		const refusal = expect.objectContaining({
			code: 'E_NONFINITE',
			at: 'mid_block.x',
			message: expect.stringContaining('unet mid_block.x'),
		});
		expect(() => svdOfProduct(up, down, { where: 'unet mid_block.x' })).toThrow(refusal);
		expect(() => singularValuesOfProduct(up, down, { where: 'unet mid_block.x' })).toThrow(refusal);
	});

	it('refuses ranks that differ', () => {
		expect(() => svdOfProduct(randomMatrix(5, 2, 1), randomMatrix(3, 6, 2))).toThrow(expect.objectContaining({ code: 'E_LORA_SHAPE' }));
	});

	it('holds for any shape', () => {
		const size = fc.integer({ min: 1, max: 40 });
		fc.assert(
			fc.property(size, size, size, fc.integer({ min: 1, max: 1e6 }), fc.integer({ min: 0, max: 3 }), (out, rank, inn, seed, step) => {
				const [up, down] = factorsOf({ name: '', out, rank, in: inn, step, seed, values: [] });
				const whole = naiveProduct(up, down);
				const svd = svdOfProduct(up, down);
				expect(svd.s.length).toBe(Math.min(out, rank, inn));
				expectSvd(svd, whole, 1e-12);
			}),
			{ numRuns: 60 },
		);
	});
});
