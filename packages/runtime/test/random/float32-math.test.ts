import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { fma32, log32, sinCos32 } from '../../src/random/float32-math.js';
import { roundBf16, roundF16 } from '../../src/random/round-half.js';

/** A float32 as an exact fraction: integer * 2^-200. Enough for the numbers drawn here. */
function exact(value: number): bigint {
	if (value === 0) return 0n;
	let scaled = value;
	let shift = 0;
	while (!Number.isInteger(scaled)) {
		scaled *= 2;
		shift++;
	}
	return BigInt(scaled) << BigInt(200 - shift);
}

/** The float32 next to `value` on each side. */
function neighbours(value: number): readonly [number, number] {
	const data = new DataView(new ArrayBuffer(4));
	data.setFloat32(0, value);
	const bits = data.getUint32(0);
	const at = (pattern: number): number => {
		data.setUint32(0, pattern);
		return data.getFloat32(0);
	};
	return value > 0 ? [at(bits - 1), at(bits + 1)] : [at(bits + 1), at(bits - 1)];
}

const float = fc
	.tuple(fc.integer({ min: 2 ** 23, max: 2 ** 24 - 1 }), fc.integer({ min: -30, max: -18 }), fc.boolean())
	.map(([m, e, s]) => (s ? -m : m) * 2 ** e);

describe('fma32', () => {
	it('rounds the exact a * b + c once, to nearest', () => {
		fc.assert(
			fc.property(float, float, float, (a, b, c) => {
				const got = fma32(a, b, c);
				const wanted = ((exact(a) * exact(b)) >> 200n) + exact(c);
				if (got === 0) {
					expect(wanted).toBe(0n);
					return;
				}
				const size = (x: bigint): bigint => (x < 0n ? -x : x);
				const error = size(exact(got) - wanted);
				for (const other of neighbours(got)) expect(size(exact(other) - wanted) >= error).toBe(true);
			}),
			{ numRuns: 3000 },
		);
	});

	it('rounds to the true side where the double sum falls on a midpoint', () => {
		// 1 + 2^-24 lies midway between two float32; the product adds 2^-70 that no double holds beside it.
		const tiny = 2 ** -35;
		expect(Math.fround(1 + 2 ** -24)).toBe(1);
		const a = 2 ** -12 * (1 + 2 ** -23);
		const b = 2 ** -12 * (1 + 2 ** -23);
		// a * b = 2^-24 + 2^-46 + 2^-70: a double beside 1 keeps 2^-24 + 2^-46, above the midpoint.
		expect(fma32(a, b, 1)).toBe(1 + 2 ** -23);
		// The sum 1 + 2^-24 + 2^-71 is, as a double, the midpoint: one ulp up is right, a tie to even would be 1.
		expect(fma32(2 ** -12 * (1 - 2 ** -24), 2 ** -12 * (1 + 2 ** -23), 1)).toBe(1 + 2 ** -23);
		expect(fma32(tiny, tiny, 1)).toBe(1);
	});
});

describe('log32, sinCos32', () => {
	it('are within 2 units in the last place of the true values', () => {
		fc.assert(
			fc.property(fc.integer({ min: 1, max: 2 ** 24 }), (k) => {
				const u = k * 2 ** -24;
				const log = Math.log(u);
				expect(Math.abs(log32(u) - log)).toBeLessThanOrEqual(2 ** -22 * Math.max(Math.abs(log), 2 ** -24));
				const angle = Math.fround(Math.fround(2 * Math.PI) * u);
				const out = new Float64Array(2);
				sinCos32(angle, out);
				expect(Math.abs((out[0] ?? Number.NaN) - Math.sin(angle))).toBeLessThanOrEqual(2 ** -23);
				expect(Math.abs((out[1] ?? Number.NaN) - Math.cos(angle))).toBeLessThanOrEqual(2 ** -23);
			}),
			{ numRuns: 3000 },
		);
	});
});

describe('roundF16, roundBf16', () => {
	it.each([
		[1 + 2 ** -11, 1],
		[1 + 3 * 2 ** -11, 1 + 2 ** -9],
		[-1 - 2 ** -11 - 2 ** -30, -1 - 2 ** -10],
		[2 ** -25, 0],
		[3 * 2 ** -25, 2 ** -23],
		[2 - 2 ** -40, 2],
	])('binary16 of %d', (value, expected) => {
		expect(Math.abs(roundF16(value))).toBe(Math.abs(expected));
		expect(Math.sign(roundF16(value)) === Math.sign(value) || expected === 0).toBe(true);
	});

	it.each([
		[1 + 2 ** -8, 1],
		[1 + 3 * 2 ** -8, 1 + 2 ** -6],
		[-1 - 2 ** -8 - 2 ** -30, -1 - 2 ** -7],
		[2 - 2 ** -40, 2],
	])('bfloat16 of %d', (value, expected) => {
		expect(roundBf16(value)).toBe(expected);
	});
});
