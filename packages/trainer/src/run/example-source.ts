import type { TorchGenerator } from '@lorakit/runtime';

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
