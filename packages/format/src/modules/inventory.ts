/** One module of a base model that an adapter can target. */
export interface BaseModule {
	/** Dotted path in its component, diffusers' names. */
	readonly path: string;
	readonly kind: 'linear' | 'conv2d' | 'norm' | 'embedding' | 'other';
	/** Shape of its weight: (out, in) or (out, in, kh, kw) or (n). */
	readonly shape: readonly number[];
}

/** The modules of a real base (from --base) by component, in the order in which `named_modules()` gives them where known. */
export interface BaseInventory {
	/** What it was read from. */
	readonly name: string;
	/** `sd1`, `sd2`, `sdxl`, ... or `unknown`. */
	readonly family: string;
	readonly components: ReadonlyMap<string, readonly BaseModule[]>;
	/** The `unet/config.json` numbers that decide module order, when the base was a diffusers folder. */
	readonly unetConfig: UnetConfig | undefined;
}

/** The numbers of diffusers' UNet2DConditionModel config that decide which modules there are and in which order. */
export interface UnetConfig {
	readonly blockOutChannels: readonly number[];
	readonly layersPerBlock: number;
	readonly downBlockTypes: readonly string[];
	readonly upBlockTypes: readonly string[];
	/** Transformer depth per down block. */
	readonly transformerLayersPerBlock: readonly number[];
	readonly crossAttentionDim: number;
	readonly useLinearProjection: boolean;
	/** SDXL's add_embedding input width, or undefined. */
	readonly projectionClassEmbeddingsInputDim: number | undefined;
	readonly inChannels: number;
	readonly outChannels: number;
}
