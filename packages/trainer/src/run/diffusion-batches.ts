import { FormatError, quote } from '@lorakit/format';
import { countOf, f32Tensor, sampleLatents, scaleLatents } from '@lorakit/runtime';
import type { BatchText, TrainingBatch } from '../model/training-batch.js';
import type { BatchSource, MicroBatch } from './batch-source.js';
import { createDataOrder } from './data-order.js';
import { type CaptionRules, drawCaption, PLAIN_CAPTIONS } from './draw-caption.js';
import { type CaptionTexts, type ExampleLatents, type ExampleSource, timeIdsOfBatch } from './example-source.js';
import { type RandomStreams, restoreStreams, streamsState } from './random-streams.js';

/** What the noising of a batch is drawn by. */
export interface NoiseOptions {
	/** Timesteps are drawn from [min, max). */
	readonly minTimestep: number;
	readonly maxTimestep: number;
	/** So much of one more normal number by sample and channel is added to the noise. */
	readonly noiseOffset: number;
	/** `scaling_factor` of the VAE, and its `shift_factor` where it has one. */
	readonly scalingFactor: number;
	readonly shiftFactor?: number | undefined;
}

export interface DiffusionBatchesOptions extends NoiseOptions {
	readonly examples: ExampleSource;
	readonly batchSize: number;
	readonly repeats?: number | undefined;
	readonly captions?: CaptionRules | undefined;
	/** States or ids of the captions of a batch. */
	readonly text: CaptionTexts;
	readonly streams: RandomStreams;
	/**
	 * Prior preservation: as many class pictures stand behind the instances of each batch. Epochs have the larger number of
	 * the two, the smaller set begins again (diffusers' DreamBoothDataset); class pictures come in their own order.
	 */
	readonly prior?: { readonly examples: ExampleSource; readonly weight: number } | undefined;
}

/**
 * Batches as diffusers' scripts draw them (examples/text_to_image/train_text_to_image_lora.py,
 * examples/dreambooth/train_dreambooth_lora.py), each kind of draw from its own generator: latents of the VAE's
 * distribution times the scaling factor, `randn` over the whole batch, the offset by sample and channel after it,
 * `randint` timesteps by sample.
 */
export function createDiffusionBatches(options: DiffusionBatchesOptions): BatchSource & { readonly batchesPerEpoch: number } {
	const { examples, batchSize, repeats = 1, captions = PLAIN_CAPTIONS, streams, prior } = options;
	const count = examples.examples.length;
	const classes = prior?.examples.examples.length ?? 0;
	if (prior !== undefined && classes === 0) throw new FormatError('E_CONFIG', 'There is no class picture for the prior.');
	// The longer set decides the epoch: instance i stands with class picture i of its length.
	const length = Math.max(count * repeats, classes);
	const order = createDataOrder({
		buckets: Array.from({ length: count === 0 ? 0 : length }, (_, i) => examples.examples[i % count]?.bucket ?? ''),
		batchSize,
		generator: streams.order,
	});

	async function next(): Promise<MicroBatch> {
		const { indices, epoch, lastOfEpoch } = order.next();
		const members = indices.map((i) => ({ source: examples, index: i % count }));
		const bucket = members[0] === undefined ? '' : (examples.examples[members[0].index]?.bucket ?? '');
		if (prior !== undefined) for (const i of indices) members.push({ source: prior.examples, index: i % classes });
		const texts: string[] = [];
		const latents: ExampleLatents[] = [];
		for (const { source, index } of members) {
			texts.push(drawCaption(source.examples[index]?.captions ?? [], captions, streams));
			latents.push(await source.latents(index, bucket, streams.augment));
		}
		const names = members.map(({ source, index }) => source.examples[index]?.name ?? '');
		const instances = indices.length;
		const weights = members.map((_, i) => (i < instances ? 1 / instances : (prior?.weight ?? 0) / instances));
		const batch = drawBatch(latents, names, await options.text(texts, timeIdsOfBatch(latents)), weights, options, streams);
		return { batch, names, epoch, lastOfEpoch };
	}

	return {
		batchesPerEpoch: order.batchesPerEpoch,
		next,
		state: () => ({ order: order.state(), streams: streamsState(streams) }),
		restore(state) {
			const saved = state as { readonly order?: unknown; readonly streams?: unknown } | null | undefined;
			// The order last: it brings its generator to where the epoch's permutation is drawn already.
			restoreStreams(streams, saved?.streams);
			order.restore(saved?.order);
		},
	};
}

/** What noise, timesteps and the latents of a batch are drawn from. */
type BatchStreams = Pick<RandomStreams, 'latents' | 'noise' | 'timesteps'>;

/**
 * A batch of pictures, noised. @param names for messages
 * @throws {FormatError} `E_SHAPE` when the latents have not one shape
 */
export function drawBatch(
	members: readonly ExampleLatents[],
	names: readonly string[],
	text: BatchText,
	weights: readonly number[],
	{ minTimestep, maxTimestep, noiseOffset, scalingFactor, shiftFactor }: NoiseOptions,
	streams: BatchStreams,
): TrainingBatch {
	const [c = 0, h = 0, w = 0] = members[0]?.shape ?? [];
	const size = c * h * w;
	const shape = [members.length, c, h, w];
	const mean = new Float32Array(countOf(shape));
	const logvar = new Float32Array(countOf(shape)).fill(Number.NEGATIVE_INFINITY);
	const masked = members.some(({ mask }) => mask !== undefined);
	const mask = masked ? new Float32Array(members.length * h * w).fill(1) : undefined;
	members.forEach((member, i) => {
		if (member.shape.length !== 3 || member.shape.some((d, at) => d !== [c, h, w][at]) || member.mean.length !== size) {
			throw new FormatError(
				'E_SHAPE',
				`The latents of ${quote(names[i] ?? '')} have the shape (${member.shape.join(', ')}), those of ${quote(names[0] ?? '')} in the same batch (${c}, ${h}, ${w}).`,
			);
		}
		mean.set(member.mean, i * size);
		if (member.logvar !== undefined) logvar.set(member.logvar, i * size);
		if (member.mask !== undefined) mask?.set(member.mask, i * h * w);
	});
	// Drawn for the whole batch as torch does; exp(-inf / 2) = 0 takes nothing of it where latents are given.
	const sampled = members.every(({ logvar: l }) => l === undefined)
		? mean
		: sampleLatents({ mean: f32Tensor(shape, mean), logvar: f32Tensor(shape, logvar) }, streams.latents.randn(mean.length));
	const noise = streams.noise.randn(mean.length);
	if (noiseOffset > 0) {
		const offsets = streams.noise.randn(members.length * c);
		for (let i = 0; i < noise.length; i++) {
			noise[i] = (noise[i] ?? 0) + Math.fround(Math.fround(noiseOffset) * (offsets[Math.floor(i / (h * w))] ?? 0));
		}
	}
	return {
		latents: f32Tensor(shape, scaleLatents({ scalingFactor, shiftFactor }, sampled)),
		noise: f32Tensor(shape, noise),
		timesteps: [...streams.timesteps.randint(minTimestep, maxTimestep, members.length)],
		text,
		weights,
		mask: mask === undefined ? undefined : f32Tensor([members.length, 1, h, w], mask),
	};
}
