import { FormatError } from '@lorakit/format';
import type { TorchGenerator } from '@lorakit/runtime';
import { fromBase64, toBase64 } from './base64.js';

export interface DataOrderOptions {
	/** The bucket of each example: only examples of one bucket stand in a batch. */
	readonly buckets: readonly string[];
	readonly batchSize: number;
	/** How often an epoch has each example. */
	readonly repeats?: number | undefined;
	readonly generator: TorchGenerator;
}

/** A batch of the order. */
export interface OrderedBatch {
	/** Indices of examples, 1 to `batchSize` of them: the rest of a bucket is a smaller batch, nothing is left out. */
	readonly indices: readonly number[];
	/** From 0. */
	readonly epoch: number;
	readonly lastOfEpoch: boolean;
}

/** Batches without end, epoch after epoch. */
export interface DataOrder {
	readonly batchesPerEpoch: number;
	next(): OrderedBatch;
	/** Plain data: where it is, and what the permutation of this epoch was drawn from. */
	state(): DataOrderState;
	/** @throws {FormatError} `E_FORMAT` for what is no state of this order */
	restore(state: unknown): void;
}

export interface DataOrderState {
	readonly epoch: number;
	/** Batches of this epoch that are done. */
	readonly position: number;
	/** The generator when the epoch began, in base64. */
	readonly generator: string;
}

/** Most examples of an epoch, repeats included. */
export const MAX_EPOCH: number = 100_000_000;

/**
 * Shuffled batches by bucket. Each epoch is one `torch.randperm` over all examples (times repeats); a bucket's batch is
 * given out when it is full, what is left in the buckets at the end of the epoch comes then, in the order in which the
 * buckets were met. With one bucket that is the order of torch's RandomSampler with drop_last false.
 * @throws {FormatError} `E_CONFIG` for no example, `E_LIMIT` for too many
 */
export function createDataOrder({ buckets, batchSize, repeats = 1, generator }: DataOrderOptions): DataOrder {
	if (buckets.length === 0) throw new FormatError('E_CONFIG', 'There is no picture to train on.');
	const count = buckets.length * repeats;
	if (count > MAX_EPOCH) throw new FormatError('E_LIMIT', `An epoch of ${count} pictures, repeats included; the limit is ${MAX_EPOCH}.`);
	const sizes = new Map<string, number>();
	for (const bucket of buckets) sizes.set(bucket, (sizes.get(bucket) ?? 0) + repeats);
	const batchesPerEpoch = [...sizes.values()].reduce((sum, size) => sum + Math.ceil(size / batchSize), 0);
	let epoch = 0;
	let position = 0;
	let begun = generator.state();
	let batches: readonly (readonly number[])[] | undefined;

	function drawEpoch(): readonly (readonly number[])[] {
		begun = generator.state();
		const open = new Map<string, number[]>();
		const out: number[][] = [];
		for (const place of generator.randperm(count)) {
			const index = place % buckets.length;
			const bucket = buckets[index] ?? '';
			const batch = open.get(bucket) ?? [];
			batch.push(index);
			open.set(bucket, batch);
			if (batch.length < batchSize) continue;
			out.push(batch);
			open.set(bucket, []);
		}
		for (const rest of open.values()) if (rest.length > 0) out.push(rest);
		return out;
	}

	return {
		batchesPerEpoch,
		next() {
			batches ??= drawEpoch();
			const indices = batches[position] ?? [];
			const lastOfEpoch = position === batches.length - 1;
			const batch = { indices, epoch, lastOfEpoch };
			position++;
			if (lastOfEpoch) {
				epoch++;
				position = 0;
				batches = undefined;
				begun = generator.state();
			}
			return batch;
		},
		state: () => ({ epoch, position, generator: toBase64(begun) }),
		restore(state) {
			const saved = state as Partial<DataOrderState> | null | undefined;
			if (!isCount(saved?.epoch) || !isCount(saved.position) || saved.position >= batchesPerEpoch || typeof saved.generator !== 'string') {
				throw new FormatError('E_FORMAT', 'The saved place in the order of the pictures does not fit these pictures.');
			}
			generator.restore(fromBase64(saved.generator, 'The generator of the order of the pictures'));
			epoch = saved.epoch;
			position = saved.position;
			begun = generator.state();
			batches = position === 0 ? undefined : drawEpoch();
		},
	};
}

function isCount(value: unknown): value is number {
	return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}
