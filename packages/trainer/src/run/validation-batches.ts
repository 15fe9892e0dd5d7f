import { createTorchGenerator } from '@lorakit/runtime';
import type { TrainingBatch } from '../model/training-batch.js';
import { drawBatch, type NoiseOptions } from './diffusion-batches.js';
import { type CaptionTexts, type ExampleLatents, type ExampleSource, timeIdsOfBatch } from './example-source.js';
import { streamSeed } from './random-streams.js';

export interface ValidationBatchesOptions extends NoiseOptions {
	readonly examples: ExampleSource;
	/** Which of the examples. */
	readonly indices: readonly number[];
	/** Noises and timesteps for each. */
	readonly draws: number;
	readonly batchSize: number;
	readonly seed: number;
	/** States or ids: asked anew each time, for the text encoder may be what is trained. */
	readonly text: CaptionTexts;
}

/**
 * The batches of one measurement: always the same pictures (in the middle, not mirrored, first caption), noises and
 * timesteps, drawn from the validation seed alone. Timesteps are the middles of equal parts of the range, one for each draw, moved
 * by one random number a picture: so few draws already see the whole range.
 */
export async function* validationBatches(options: ValidationBatchesOptions): AsyncGenerator<TrainingBatch, void, undefined> {
	const { examples, indices, draws, batchSize, seed, minTimestep, maxTimestep } = options;
	const streams = {
		latents: createTorchGenerator(streamSeed(seed, 'validation latents')),
		noise: createTorchGenerator(streamSeed(seed, 'validation noise')),
		timesteps: createTorchGenerator(streamSeed(seed, 'validation timesteps')),
	};
	const byBucket = new Map<string, number[]>();
	for (const index of indices) {
		const bucket = examples.examples[index]?.bucket ?? '';
		const members = byBucket.get(bucket) ?? [];
		for (let draw = 0; draw < draws; draw++) members.push(index);
		byBucket.set(bucket, members);
	}
	const range = maxTimestep - minTimestep;
	for (const [bucket, members] of byBucket) {
		const timesteps = members.map((_, i) => {
			const draw = i % draws;
			const [moved = 0] = streams.timesteps.rand(1);
			return minTimestep + Math.min(range - 1, Math.floor(((draw + moved) / draws) * range));
		});
		for (let at = 0; at < members.length; at += batchSize) {
			const part = members.slice(at, at + batchSize);
			const latents: ExampleLatents[] = [];
			for (const index of part) latents.push(await examples.latents(index, bucket, undefined));
			const names = part.map((index) => examples.examples[index]?.name ?? '');
			const captions = part.map((index) => examples.examples[index]?.captions[0] ?? '');
			const text = await options.text(captions, timeIdsOfBatch(latents));
			const weights = part.map(() => 1 / part.length);
			// The timesteps that this draws are put aside for those above; its own stream is of no use to anybody.
			const drawn = drawBatch(latents, names, text, weights, options, { ...streams, timesteps: createTorchGenerator(0) });
			yield { ...drawn, timesteps: timesteps.slice(at, at + batchSize) };
		}
	}
}

/**
 * Which examples are held out: the first of a `torch.randperm` of the validation seed. At least one is held out and one is left.
 * @returns both in ascending order
 */
export function splitHeldOut(
	count: number,
	fraction: number,
	seed: number,
): { readonly train: readonly number[]; readonly heldOut: readonly number[] } {
	const all = Array.from({ length: count }, (_, i) => i);
	if (fraction <= 0 || count < 2) return { train: all, heldOut: [] };
	const size = Math.min(count - 1, Math.max(1, Math.round(count * fraction)));
	const chosen = new Set(createTorchGenerator(streamSeed(seed, 'held out')).randperm(count).subarray(0, size));
	return { train: all.filter((i) => !chosen.has(i)), heldOut: all.filter((i) => chosen.has(i)) };
}
