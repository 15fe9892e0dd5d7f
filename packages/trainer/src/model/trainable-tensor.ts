/** Tensors of a group share a learning rate. `tokens` are rows of learned tokens. */
export type ParameterGroup = 'unet' | 'text_encoder' | 'tokens';

/** A tensor that training changes. */
export interface TrainableTensor {
	/**
	 * The input of the graph it is fed to: `unet.PATH:down` (r, in[, kh, kw]), `unet.PATH:up` (out, r[, 1, 1]),
	 * `unet.PATH:magnitude` (out), `added_rows` (tokens, width), SDXL's second text encoder's `text_encoder_2.added_rows`. Factors are A and B themselves, without alpha / rank.
	 */
	readonly name: string;
	readonly group: ParameterGroup;
	readonly shape: readonly number[];
	/** float32, row-major. The optimizer changes it in place. */
	readonly values: Float32Array;
}
