import { describe, expect, it } from 'vitest';
import { castErrorBound, castTensor, castWithCounts } from '../src/cast.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../src/half.js';
import { bytesTensor } from '../src/tensor.js';

const f32 = (...values: number[]): Uint8Array => encodeFloats('F32', Float64Array.from(values));

describe('castWithCounts', () => {
	it.each<[WritableFloat, WritableFloat, number[], number[], [number, number, number]]>([
		['F32', 'F16', [1, -2, 0, -0, 0.1], [1, -2, 0, -0, 0.0999755859375], [0, 0, 0]],
		[
			'F32',
			'F16',
			[2 ** -26, -(2 ** -30), 65520, -1e30, Number.NaN, Number.NEGATIVE_INFINITY],
			[0, -0, Infinity, -Infinity, Number.NaN, -Infinity],
			[2, 2, 2],
		],
		['F32', 'BF16', [2 ** -26, 65520, Number.NaN, 3.4e38, 2 ** -149], [2 ** -26, 65536, Number.NaN, Infinity, 0], [1, 1, 1]],
		['BF16', 'F16', [2 ** -30, 65536, 1.5], [0, Infinity, 1.5], [1, 1, 0]],
		['F64', 'F32', [1e-60, 1e60, Infinity, 1 / 3], [0, Infinity, Infinity, Math.fround(1 / 3)], [1, 1, 1]],
		['F64', 'F16', [1 + 2 ** -11 + 2 ** -40, 1 + 2 ** -11], [1 + 2 ** -10, 1], [0, 0, 0]],
		['F16', 'F32', [2 ** -24, 65504, Number.NaN, -0], [2 ** -24, 65504, Number.NaN, -0], [0, 0, 1]],
		['F16', 'BF16', [65504, 2 ** -24], [65536, 2 ** -24], [0, 0, 0]],
		['F32', 'F32', [1, Number.NaN], [1, Number.NaN], [0, 0, 1]],
	])('%s to %s', (from, to, values, want, [underflow, overflow, nonfinite]) => {
		const result = castWithCounts(encodeFloats(from, Float64Array.from(values)), from, to);
		expect([...decodeFloats(to, result.bytes)]).toEqual(want);
		expect(result).toMatchObject({ underflow, overflow, nonfinite });
	});

	it('works on bytes at any alignment', () => {
		const bytes = new Uint8Array(9);
		bytes.set(f32(1.5, -3), 1);
		expect([...decodeFloats('F16', castWithCounts(bytes.subarray(1), 'F32', 'F16').bytes)]).toEqual([1.5, -3]);
	});

	it('refuses what is no float', () => {
		for (const dtype of ['I32', 'C64', 'F4', 'BOOL'] as const) {
			expect(() => castWithCounts(new Uint8Array(8), dtype, 'F32')).toThrow(expect.objectContaining({ code: 'E_UNSUPPORTED_DTYPE' }));
		}
		expect(() => castWithCounts(new Uint8Array(7), 'F32', 'F16')).toThrow(expect.objectContaining({ code: 'E_SHAPE' }));
	});
});

describe('castTensor', () => {
	it('says what it did', async () => {
		const source = bytesTensor('F32', [2], f32(0.1, 4), 'x');
		const cast = castTensor(source, 'F16');
		expect(cast).toMatchObject({ dtype: 'F16', shape: [2], nbytes: 4, origin: undefined, range: undefined });
		expect(cast.derivation).toEqual({ from: [source], how: 'cast F32 to F16', errorBound: 2 ** -11 });
		expect([...(await cast.read())]).toEqual([0x66, 0x2e, 0x00, 0x44]);
		expect(castTensor(source, 'F32')).toBe(source);
	});

	it.each([
		['F16', 'F32', 0],
		['BF16', 'F32', 0],
		['F32', 'F64', 0],
		['F8_E4M3', 'F16', 0],
		['F8_E8M0', 'F16', 2 ** -11],
		['F8_E8M0', 'BF16', 0],
		['F32', 'BF16', 2 ** -8],
		['F64', 'F32', 2 ** -24],
		['F16', 'BF16', 2 ** -8],
		['F16', 'F16', 0],
	] as const)('%s to %s is off by at most %d', (from, to, bound) => {
		expect(castErrorBound(from, to)).toBe(bound);
	});
});
