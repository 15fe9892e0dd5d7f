import type { HostTensor } from '@lorakit/runtime';

/** Text of a batch: states that were computed before, or token ids where a text encoder or a token is trained. */
export type BatchText =
	| {
			/** (b, t, d) what the UNet attends to. */
			readonly states: HostTensor;
			/** SDXL: (b, projection_class_embeddings_input_dim), the pooled state and the features of the time ids. */
			readonly added?: HostTensor | undefined;
	  }
	| {
			/** b rows of t ids, begin and end tokens included; learned token n has the id vocabulary size + n. */
			readonly ids: readonly (readonly number[])[];
			/** SDXL: those of its second text encoder, as many. */
			readonly ids2?: readonly (readonly number[])[] | undefined;
			/** SDXL: what each sample is told of its size and cut (`timeIdsOf`); b rows of six numbers. */
			readonly timeIds?: readonly (readonly number[])[] | undefined;
	  };

/** One micro-batch, everything random already drawn. */
export interface TrainingBatch {
	/** (b, c, h, w) clean latents, multiplied by the VAE's scaling factor. */
	readonly latents: HostTensor;
	/** (b, c, h, w) what is added, noise offset included. */
	readonly noise: HostTensor;
	/** b training timesteps. */
	readonly timesteps: readonly number[];
	readonly text: BatchText;
	/**
	 * b factors; the loss is the sum over samples of factor * mean squared error of the sample (* min-SNR weight). A plain
	 * mean has 1 / b each; prior preservation 1 / instances and prior weight / classes.
	 */
	readonly weights: readonly number[];
	/** (b, 1, h, w) factors of the squared error by pixel of the latents; left out: 1. */
	readonly mask?: HostTensor | undefined;
}
