import { describe, expect, it } from 'vitest';
import { dareMask, droppedAndRescaled } from '../../../src/transforms/merge/dare.js';
import { magnitudePruned } from '../../../src/transforms/merge/magnitude-prune.js';
import { createRandom } from '../../../src/transforms/merge/random.js';
import { slerpWeights } from '../../../src/transforms/merge/slerp.js';
import { electedSigns, tiesMerged } from '../../../src/transforms/merge/ties.js';

const of = (...x: number[]): Float64Array => Float64Array.from(x);

describe('createRandom', () => {
	it('gives the same numbers for the same key, others for another', () => {
		const a = createRandom('0\u0000unet x');
		const b = createRandom('0\u0000unet x');
		const c = createRandom('0\u0000unet y');
		const first = Array.from({ length: 64 }, a);
		expect(Array.from({ length: 64 }, b)).toEqual(first);
		const other = Array.from({ length: 64 }, c);
		expect(other.filter((x) => first.includes(x))).toEqual([]);
	});
	it('is uniform: mean, variance, 64 bins (chi squared) and neighbours', () => {
		const n = 200_000;
		const random = createRandom('uniform');
		const bins = new Array<number>(64).fill(0);
		let [sum, squares, lag, before] = [0, 0, 0, 0.5];
		for (let i = 0; i < n; i++) {
			const x = random();
			expect(x >= 0 && x < 1).toBe(true);
			sum += x;
			squares += (x - 0.5) ** 2;
			lag += (x - 0.5) * (before - 0.5);
			before = x;
			bins[Math.floor(x * 64)] = (bins[Math.floor(x * 64)] ?? 0) + 1;
		}
		expect(Math.abs(sum / n - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / n));
		expect(Math.abs(squares / n - 1 / 12)).toBeLessThan(4 * Math.sqrt(1 / 180 / n));
		expect(Math.abs(lag / n)).toBeLessThan(4 / 12 / Math.sqrt(n));
		const chi = bins.reduce((total, k) => total + (k - n / 64) ** 2 / (n / 64), 0);
		// 63 degrees of freedom: mean 63, deviation 11.2.
		expect(chi).toBeGreaterThan(63 - 4 * 11.3);
		expect(chi).toBeLessThan(63 + 4 * 11.3);
	});
});

describe('dareMask', () => {
	it.each([0.1, 0.5, 0.9])('keeps a share of %d', (density) => {
		const n = 100_000;
		const kept = dareMask('key', n, density).reduce((sum, x) => sum + x, 0);
		expect(Math.abs(kept / n - density)).toBeLessThan(4 * Math.sqrt((density * (1 - density)) / n));
	});
	it('of two keys agree as often as chance has it', () => {
		const n = 100_000;
		const [a, b] = [dareMask('7\u00000\u0000m', n, 0.5), dareMask('7\u00001\u0000m', n, 0.5)];
		const equal = a.reduce((sum, x, i) => sum + (x === b[i] ? 1 : 0), 0);
		expect(Math.abs(equal / n - 0.5)).toBeLessThan(4 * Math.sqrt(0.25 / n));
	});
	it('drops, rescales, and does nothing from a density of 1 on', () => {
		expect(droppedAndRescaled(of(1, 2, 3), Uint8Array.of(1, 0, 1), 0.25)).toEqual(of(4, 0, 12));
		expect(droppedAndRescaled(of(1, 2), Uint8Array.of(0, 0), 1)).toEqual(of(1, 2));
	});
});

describe('magnitudePruned', () => {
	it.each([
		[of(3, -1, 2, -4), 0.5, of(3, 0, 0, -4)],
		[of(3, -1, 2, -4), 0.49, of(0, 0, 0, -4)],
		[of(3, -1, 2, -4), 1, of(3, -1, 2, -4)],
		[of(3, -1, 2, -4), 0.1, of(0, 0, 0, 0)],
		[of(1, -1, 1, 2), 0.5, of(1, 0, 0, 2)],
		[of(0, 0, 5), 0.99, of(0, 0, 5)],
		[of(), 0.5, of()],
	])('%s at %d', (values, density, expected) => {
		expect(magnitudePruned(values, density)).toEqual(expected);
	});
});

describe('magnitudePruned of many', () => {
	it.each([0.001, 0.1, 0.37, 0.5, 0.999])('keeps the same as sorting does at %d', (density) => {
		const random = createRandom('many');
		const values = Float64Array.from({ length: 20_000 }, () => Math.round((random() - 0.5) * 2000) * 2 ** Math.floor(random() * 40 - 20));
		const keep = Math.floor(density * values.length);
		// By magnitude, then by place.
		const order = [...values.keys()].sort((i, j) => Math.abs(values[j] ?? 0) - Math.abs(values[i] ?? 0) || i - j);
		const expected = new Float64Array(values.length);
		for (const i of order.slice(0, keep)) expected[i] = values[i] ?? 0;
		expect(magnitudePruned(values, density)).toEqual(expected);
	});
});

describe('ties', () => {
	it('elects by sum or by count; a tie is positive, zeros have no vote', () => {
		const tasks = [of(3, 1, 0, 1), of(-1, -1, -2, 0), of(-1, 0, 0, 0)];
		expect([...electedSigns(tasks, 'total')]).toEqual([1, 1, -1, 1]);
		expect([...electedSigns(tasks, 'frequency')]).toEqual([-1, 1, -1, 1]);
	});
	it('takes the mean over those that agree', () => {
		const tasks = [of(3, 1, 0), of(5, -1, -2), of(-1, 0, 0)];
		expect(tiesMerged(tasks, [1, 1, 1], 'total')).toEqual(of(4, 1, -2));
		expect(tiesMerged(tasks, [2, 10, 10], 'total')).toEqual(of(28, 2, -20));
	});
});

describe('slerpWeights', () => {
	it('goes along the circle between orthogonal directions', () => {
		const [a, b] = slerpWeights({ aa: 4, bb: 9, ab: 0 }, 0.5);
		expect(a).toBeCloseTo(Math.SQRT1_2, 15);
		expect(b).toBeCloseTo(Math.SQRT1_2, 15);
	});
	it.each([
		[0, 1, 0],
		[1, 0, 1],
	])('t = %d is one of the two', (t, a, b) => {
		expect(slerpWeights({ aa: 1, bb: 1, ab: 0.3 }, t).map((x) => Math.round(x * 1e15) / 1e15 + 0)).toEqual([a, b]);
	});
	it('is linear between parallel ones and with nothing', () => {
		expect(slerpWeights({ aa: 1, bb: 1, ab: 1 }, 0.25)).toEqual([0.75, 0.25]);
		expect(slerpWeights({ aa: 1, bb: 1, ab: -1 }, 0.25)).toEqual([0.75, 0.25]);
	});
	it('agrees with the formula at 60 degrees', () => {
		const [a, b] = slerpWeights({ aa: 1, bb: 1, ab: 0.5 }, 0.5);
		expect(a).toBeCloseTo(1 / Math.sqrt(3), 14);
		expect(b).toBeCloseTo(1 / Math.sqrt(3), 14);
	});
});
