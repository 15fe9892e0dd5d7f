import { readFileSync } from 'node:fs';
import { createTorchGenerator } from '@lorakit/runtime';
import { describe, expect, it } from 'vitest';
import { createDataOrder } from '../../src/run/data-order.js';

const { orders } = JSON.parse(readFileSync(new URL('../../../../fixtures/training/data/data.json', import.meta.url), 'utf8')) as {
	readonly orders: readonly { readonly seed: number; readonly n: number; readonly order: readonly number[] }[];
};

describe('createDataOrder', () => {
	it.each(orders)('is torch.randperm for one bucket: seed $seed, $n pictures', ({ seed, n, order }) => {
		const source = createDataOrder({ buckets: new Array(n).fill('a'), batchSize: 3, generator: createTorchGenerator(seed) });
		const batches = Array.from({ length: source.batchesPerEpoch }, () => source.next());
		expect(batches.flatMap(({ indices }) => indices)).toEqual(order);
		expect(batches.map(({ lastOfEpoch }) => lastOfEpoch)).toEqual(batches.map((_, i) => i === batches.length - 1));
	});

	it('makes batches of one bucket, every picture once an epoch', () => {
		const buckets = ['a', 'b', 'b', 'a', 'b', 'c', 'a'];
		const source = createDataOrder({ buckets, batchSize: 2, generator: createTorchGenerator(5) });
		for (let epoch = 0; epoch < 3; epoch++) {
			const batches = Array.from({ length: source.batchesPerEpoch }, () => source.next());
			expect(batches.flatMap(({ indices }) => indices).sort()).toEqual([0, 1, 2, 3, 4, 5, 6]);
			for (const { indices } of batches) expect(new Set(indices.map((i) => buckets[i])).size).toBe(1);
			expect(batches.every((batch) => batch.epoch === epoch)).toBe(true);
		}
	});
});
