import { FormatError } from '@lorakit/format';
import type { TorchGenerator } from '@lorakit/runtime';
import type { SizedItem } from './assign-sizes.js';

/**
 * The batches of one epoch, as indices into `items`. Every batch is of one size. With one size for all it is
 * `torch.randperm(n)` cut into batches, the last one shorter: what a DataLoader with shuffle does with its sampler's
 * generator. With several, each bucket is permuted by itself (in the order of its first item) and cut, and then the order of
 * the batches is permuted, as kohya does.
 * @throws {FormatError} `E_USAGE` for a batch size below 1
 */
export function epochBatches(items: readonly SizedItem[], batchSize: number, generator: TorchGenerator): readonly (readonly number[])[] {
	if (!Number.isInteger(batchSize) || batchSize < 1)
		throw new FormatError('E_USAGE', `The batch size is ${batchSize}; it is a whole number from 1.`);
	const buckets = new Map<string, number[]>();
	for (const [i, { bucket }] of items.entries()) {
		const key = `${bucket.width}x${bucket.height}`;
		const members = buckets.get(key);
		if (members === undefined) buckets.set(key, [i]);
		else members.push(i);
	}
	const batches: number[][] = [];
	for (const members of buckets.values()) {
		const order = Array.from(generator.randperm(members.length), (i) => members[i] as number);
		for (let at = 0; at < order.length; at += batchSize) batches.push(order.slice(at, at + batchSize));
	}
	if (buckets.size <= 1) return batches;
	return Array.from(generator.randperm(batches.length), (i) => batches[i] as number[]);
}

/** One DreamBooth example: an instance beside a class picture. */
export interface PriorPair {
	readonly instance: number;
	readonly class: number;
}

/**
 * Pairs of one epoch of DreamBooth with prior preservation: as many as the larger set has, the smaller one counted round again
 * (`index % n`, huggingface/diffusers examples/dreambooth/train_dreambooth_lora.py).
 * @throws {FormatError} `E_USAGE` when one of the sets is empty
 */
export function priorPairs(instances: number, classes: number): readonly PriorPair[] {
	if (!(instances >= 1) || !(classes >= 1))
		throw new FormatError('E_USAGE', 'Prior preservation needs instance pictures and class pictures.');
	return Array.from({ length: Math.max(instances, classes) }, (_, i) => ({ instance: i % instances, class: i % classes }));
}
