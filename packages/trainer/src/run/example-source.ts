import type { TorchGenerator } from '@lorakit/runtime';
import type { BatchText } from '../model/training-batch.js';

/** A picture to learn from. */
export interface Example {
	/** As `DatasetItem.name`. */
	readonly name: string;
	/** Examples with the same bucket have latents of one shape. */
	readonly bucket: string;
	/** One is drawn each time: several captions of the picture, or templates with the token filled in. */
	readonly captions: readonly string[];
}

/** A picture in latent space, before the scaling factor. */
export interface ExampleLatents {
	/** (c, h, w) */
	readonly shape: readonly number[];
	readonly mean: Float32Array;
	/** Of the VAE's distribution; left out: `mean` is what is trained on. */
	readonly logvar?: Float32Array | undefined;
	/** h * w factors of the squared error. */
	readonly mask?: Float32Array | undefined;
	/** SDXL: what the model is told of its size and cut (`timeIdsOf`). */
	readonly timeIds?: readonly number[] | undefined;
}

/** Captions as a batch has them. @param timeIds of each picture, where it has them */
export type CaptionTexts = (captions: readonly string[], timeIds: readonly (readonly number[])[] | undefined) => Promise<BatchText>;

/** Time ids of a batch: all have them or none. */
export function timeIdsOfBatch(members: readonly ExampleLatents[]): readonly (readonly number[])[] | undefined {
	const all = members.flatMap(({ timeIds }) => (timeIds === undefined ? [] : [timeIds]));
	return all.length === 0 ? undefined : all;
}

/** Pictures in latent space, computed or from a cache. */
export interface ExampleSource {
	/** In the order that decides the run. */
	readonly examples: readonly Example[];
	/**
	 * @param bucket of the batch it is for: not its own for class pictures beside an instance
	 * @param augment draws crop and flip (`planPicture`); undefined: cut from the middle, not flipped
	 * @throws {FormatError} those of reading the picture
	 */
	latents(index: number, bucket: string, augment: TorchGenerator | undefined): Promise<ExampleLatents>;
}
