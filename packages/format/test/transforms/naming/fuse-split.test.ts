import { describe, expect, test } from 'vitest';
import { bytesSource } from '../../../src/byte-source.js';
import type { DType } from '../../../src/dtype.js';
import { bytesTensor, rangeTensor } from '../../../src/tensor.js';
import { blockDiagonal, concatRows, diagonalBlock, sliceRows, swapRowHalves } from '../../../src/transforms/naming/fuse-split.js';
import { scaledTensor } from '../../../src/transforms/naming/fuse-split-scale.js';

const bytes = (...n: number[]): Uint8Array => Uint8Array.from(n);
const u8 = (shape: readonly number[], ...n: number[]): ReturnType<typeof bytesTensor> => bytesTensor('U8', shape, bytes(...n));

describe('rows', () => {
	const whole = rangeTensor('U8', [4, 2], bytesSource(bytes(9, 0, 1, 2, 3, 4, 5, 6, 7)), 1, 'w');
	test('a slice is a range with its offset, and slices joined are the whole again', async () => {
		const [a, b] = [sliceRows(whole, 0, 1), sliceRows(whole, 1, 3)];
		expect(b.range?.offset).toBe(3);
		expect(await b.read()).toEqual(bytes(2, 3, 4, 5, 6, 7));
		expect(concatRows([a, b])).toBe(whole);
		expect(await concatRows([b, 1, a]).read()).toEqual(bytes(2, 3, 4, 5, 6, 7, 0, 0, 0, 1));
	});
	test('of a computed tensor too', async () => {
		expect(await sliceRows(swapRowHalves(whole), 1, 2).read()).toEqual(bytes(6, 7, 0, 1));
		expect(swapRowHalves(swapRowHalves(whole))).toBe(whole);
	});
	test.each([
		[-1, 1],
		[3, 2],
		[0, 5],
	])('rows %i + %i are refused', (start, count) => {
		expect(() => sliceRows(whole, start, count)).toThrow(expect.objectContaining({ code: 'E_LORA_SHAPE' }));
	});
	test('rows of half bytes are refused', () => {
		expect(() => sliceRows(bytesTensor('F4', [2, 1], bytes(0)), 0, 1)).toThrow(expect.objectContaining({ code: 'E_DTYPE' }));
	});
});

test('block diagonal and back', async () => {
	const [a, b] = [u8([2, 1], 1, 2), u8([1, 2], 3, 4)];
	const all = blockDiagonal([a, 1, b]);
	expect([all.shape, await all.read()]).toEqual([[4, 3], bytes(1, 0, 0, 2, 0, 0, 0, 0, 0, 0, 3, 4)]);
	expect(await diagonalBlock(all, [0, 2], [0, 1]).read()).toEqual(bytes(1, 2));
	expect(await diagonalBlock(all, [3, 1], [1, 2]).read()).toEqual(bytes(3, 4));
	await expect(diagonalBlock(all, [0, 2], [1, 2]).read()).rejects.toMatchObject({ code: 'E_LOSS' });
});

describe('scaling folded into a factor', () => {
	// 1, 2^-24 (the smallest F16), 3
	test.each<[DType, number[], number, number[], number]>([
		['F16', [0x00, 0x3c, 0x01, 0x00, 0x00, 0x42], 0.5, [0x00, 0x38, 0x00, 0x00, 0x00, 0x3e], 0],
		['F16', [0x00, 0x3c, 0x01, 0x00, 0x00, 0x42], 3, [0x00, 0x42, 0x03, 0x00, 0x80, 0x48], 2 ** -11],
		['BF16', [0x80, 0x3f], 3, [0x40, 0x40], 2 ** -8],
	])('%s', async (dtype, input, factor, output, errorBound) => {
		const tensor = scaledTensor(bytesTensor(dtype, [input.length / 2], bytes(...input)), factor);
		expect(await tensor.read()).toEqual(bytes(...output));
		expect(tensor.derivation?.errorBound).toBe(errorBound);
	});
	test('too large, and types without arithmetic', async () => {
		await expect(scaledTensor(bytesTensor('F16', [1], bytes(0xff, 0x7b)), 2).read()).rejects.toMatchObject({ code: 'E_NONFINITE' });
		expect(() => scaledTensor(u8([1], 1), 2)).toThrow(expect.objectContaining({ code: 'E_LORA_DTYPE' }));
	});
});
