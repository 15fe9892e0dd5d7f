import { describe, expect, it } from 'vitest';
import { type ByteSource, bytesSource } from '../src/byte-source.js';
import { readSmallValues } from '../src/small-values.js';
import { bytesTensor, rangeTensor, type Tensor } from '../src/tensor.js';

describe('readSmallValues', () => {
	it('joins the reads of near scalars, keeps the order, and reads nothing else', async () => {
		const data = new Uint8Array(400_000);
		const view = new DataView(data.buffer);
		const inner = bytesSource(data);
		const reads: [number, number][] = [];
		const source: ByteSource = {
			...inner,
			read(offset, length) {
				reads.push([offset, length]);
				return inner.read(offset, length);
			},
		};
		const tensors = new Map<string, Tensor>();
		for (const [name, at, value] of [
			['far', 300_000, 3],
			['one', 10, 1],
			['two', 60_000, 2],
		] as const) {
			view.setFloat32(at, value, true);
			tensors.set(name, rangeTensor('F32', [], source, at));
		}
		tensors.set('matrix', rangeTensor('F32', [5], source, 100_000));
		tensors.set('four', rangeTensor('U8', [2, 2], source, 0));
		tensors.set('made', bytesTensor('F16', [1], Uint8Array.of(0, 0x40)));
		tensors.set('complex', rangeTensor('C64', [1], source, 0));
		expect([...(await readSmallValues(tensors))]).toEqual([
			['far', [3]],
			['one', [1]],
			['two', [2]],
			['four', [0, 0, 0, 0]],
			['made', [2]],
		]);
		expect(reads).toEqual([
			[0, 60_004],
			[300_000, 4],
		]);
	});
});
