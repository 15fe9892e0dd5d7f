import { beforeAll, describe, expect, it } from 'vitest';
import { useKernel } from '../../src/kernel/index.js';
import { denseSvd } from '../../src/linalg/dense-svd.js';
import { innerProduct, squaredNorm } from '../../src/linalg/gram-inner.js';
import { smallSvd } from '../../src/linalg/small-svd.js';
import { symmetricEigen } from '../../src/linalg/symmetric-eigen.js';
import { thinQr } from '../../src/linalg/thin-qr.js';
import { topSvd } from '../../src/linalg/top-svd.js';
import {
	expectOrthonormal,
	expectSvd,
	FIXTURE,
	flip,
	largestDifference,
	matrix,
	naiveProduct,
	numbers,
	randomMatrix,
	rebuild,
} from './matrices.js';

describe.each(['typescript', 'wasm-simd'] as const)('with the %s kernel', (id) => {
	beforeAll(async () => {
		await useKernel(id);
	});

	it.each(FIXTURE.dense)("$name: has numpy's singular values", ({ rows, cols, seed, values }) => {
		const a = randomMatrix(rows, cols, seed);
		const largest = values[0] ?? 0;
		const top = topSvd(a, 8);
		expect(largestDifference(top.s, values.slice(0, 8))).toBeLessThan(1e-13 * largest);
		expectOrthonormal(top.u);
		expectOrthonormal(top.v);
		const whole = denseSvd(a, 'a').values;
		expect(largestDifference(whole.subarray(0, values.length), values)).toBeLessThan(1e-13 * largest);
		if (rows < 100) {
			const svd = smallSvd(a);
			expect(largestDifference(svd.s.subarray(0, values.length), values)).toBeLessThan(1e-13 * largest);
			expectSvd(svd, a);
		}
	});

	it('topSvd finds a few large values above noise, from either side', () => {
		const b = randomMatrix(404, 6, 1);
		const a = randomMatrix(6, 410, 2);
		const noise = numbers(3, 404 * 410);
		const m = naiveProduct(b, a);
		const noisy = matrix(
			404,
			410,
			m.data.map((x, i) => x + 1e-3 * (noise[i] ?? 0)),
		);
		const want = denseSvd(noisy, 'noisy').values;
		for (const [given, mirrored] of [
			[noisy, false],
			[flip(noisy), true],
		] as const) {
			const { u, s, v } = topSvd(given, 10);
			expect(largestDifference(s, want.subarray(0, 10))).toBeLessThan(1e-12 * (want[0] ?? 0));
			expect([u.rows, v.rows]).toEqual(mirrored ? [410, 404] : [404, 410]);
			expectOrthonormal(u);
			expectOrthonormal(v);
		}
	});

	it.each([0, 1e-6, 1e-9, 1e-13])('topSvd goes on where the values fall to %d of the largest', (share) => {
		const b = randomMatrix(50, 6, 1);
		const a = randomMatrix(6, 60, 2);
		const noise = numbers(3, 3000);
		const m = naiveProduct(b, a);
		const noisy = matrix(
			50,
			60,
			m.data.map((x, i) => x + share * (noise[i] ?? 0)),
		);
		const top = topSvd(noisy, 20);
		expect(largestDifference(top.s, smallSvd(noisy).s.subarray(0, 20))).toBeLessThan(1e-14 * (top.s[0] ?? 0));
		expectOrthonormal(top.u);
		expectOrthonormal(top.v);
		expect(largestDifference(rebuild(top).data, noisy.data)).toBeLessThan(Math.max(20 * share, 1e-14));
	});

	it('topSvd of zeros, of the identity and of one row', () => {
		const zero = topSvd(matrix(30, 40, new Float64Array(1200)), 3);
		expect(Array.from(zero.s)).toEqual([0, 0, 0]);
		expectOrthonormal(zero.u);
		const unit = matrix(
			30,
			30,
			Array.from({ length: 900 }, (_, i) => (i % 31 === 0 ? 1 : 0)),
		);
		expect(largestDifference(topSvd(unit, 4).s, [1, 1, 1, 1])).toBeLessThan(1e-14);
		expectSvd(topSvd(unit, 30), unit);
		expect(topSvd(matrix(1, 3, [2, 3, 6]), 5).s[0]).toBeCloseTo(7, 14);
	});

	it('topSvd refuses what is not finite', () => {
		const bad = matrix(2, 2, [1, Number.NaN, 0, 1]);
		expect(() => topSvd(bad, 1, 'unet a.b')).toThrow(expect.objectContaining({ code: 'E_NONFINITE', at: 'a.b' }));
		expect(() => smallSvd(bad)).toThrow(expect.objectContaining({ code: 'E_NONFINITE' }));
	});

	it('smallSvd of orthogonal, singular, wide and empty matrices', () => {
		const c = Math.cos(0.3);
		const s = Math.sin(0.3);
		expect(largestDifference(smallSvd(matrix(2, 2, [c, -s, s, c])).s, [1, 1])).toBeLessThan(1e-15);
		const singular = matrix(3, 3, [1, 2, 3, 2, 4, 6, 0, 0, 0]);
		const svd = smallSvd(singular);
		expect(largestDifference(svd.s, [Math.sqrt(70), 0, 0])).toBeLessThan(1e-14);
		expectSvd(svd, singular);
		expectSvd(smallSvd(randomMatrix(5, 64, 8)), randomMatrix(5, 64, 8));
		expect(smallSvd(matrix(3, 0, [])).s.length).toBe(0);
		const zeros = smallSvd(matrix(30, 30, new Float64Array(900)));
		expectOrthonormal(zeros.u);
		expectOrthonormal(zeros.v);
	});

	it('smallSvd keeps tiny values of a graded matrix right', () => {
		const graded = matrix(3, 3, [1, 0, 0, 0, 1e-20, 0, 0, 0, 1e-40]);
		expect(
			largestDifference(
				smallSvd(graded).s.map((x, i) => x / 10 ** (-20 * i)),
				[1, 1, 1],
			),
		).toBeLessThan(1e-14);
	});

	it.each([
		[60, 25],
		[20, 33],
		[7, 7],
		[1, 1],
		[5, 1],
	])('thinQr of (%i, %i)', (rows, cols) => {
		const a = randomMatrix(rows, cols, rows + cols);
		const { q, r } = thinQr(a);
		expect([q.rows, q.cols, r.rows, r.cols]).toEqual([rows, Math.min(rows, cols), Math.min(rows, cols), cols]);
		expectOrthonormal(q, 1e-14);
		expect(largestDifference(naiveProduct(q, r).data, a.data)).toBeLessThan(1e-14);
		for (let i = 0; i < r.rows; i++) for (let j = 0; j < i; j++) expect(r.data[i * r.cols + j]).toBe(0);
	});

	it.each([1, 2, 3, 10, 33, 64])('symmetricEigen of the second difference of %i points', (n) => {
		// Eigenvalues 2 - 2 cos(k pi / (n + 1)).
		const a = new Float64Array(n * n);
		for (let i = 0; i < n; i++) {
			a[i * n + i] = 2;
			if (i + 1 < n) a[i * n + i + 1] = -1;
		}
		const eigen = symmetricEigen(a, n);
		const want = Array.from({ length: n }, (_, k) => 2 - 2 * Math.cos(((n - k) * Math.PI) / (n + 1)));
		expect(largestDifference(eigen.values, want)).toBeLessThan(1e-14);
		for (const count of [1, n]) expectOrthonormal(flip({ rows: count, cols: n, data: eigen.leading(count) }), 1e-13);
	});

	it('innerProduct and squaredNorm are those of the whole deltas', () => {
		const one = { up: randomMatrix(20, 3, 1), down: randomMatrix(3, 30, 2), shape: [20, 30] };
		const two = { up: randomMatrix(20, 5, 3), down: randomMatrix(5, 30, 4), shape: [20, 30] };
		const [x, y] = [naiveProduct(one.up, one.down).data, naiveProduct(two.up, two.down).data];
		const dot = (a: Float64Array, b: Float64Array) => a.reduce((sum, v, i) => sum + v * (b[i] ?? 0), 0);
		expect(innerProduct(one, two)).toBeCloseTo(dot(x, y), 12);
		expect(squaredNorm(one)).toBeCloseTo(dot(x, x), 12);
		const other = { ...two, down: randomMatrix(5, 31, 4) };
		expect(() => innerProduct(one, other)).toThrow(expect.objectContaining({ code: 'E_LORA_SHAPE' }));
	});
});
