/** Modules inside one attention of a transformer block. `processor` levels are no modules and are left to the layouts. */
const ATTENTION = [
	'to_q',
	'to_k',
	'to_v',
	'to_out.0',
	'to_qkv',
	'to_kv',
	'add_k_proj',
	'add_v_proj',
	'norm_q',
	'norm_k',
	'norm_cross',
	'group_norm',
];

/** Modules of a Transformer2DModel below its own path; the same in LDM's SpatialTransformer. */
export const TRANSFORMER_2D: readonly string[] = [
	'norm',
	'proj_in',
	'proj_out',
	...['attn1', 'attn2'].flatMap((attn) => ATTENTION.map((leaf) => `transformer_blocks.#.${attn}.${leaf}`)),
	...['norm1', 'norm2', 'norm3', 'ff.net.0.proj', 'ff.net.2'].map((leaf) => `transformer_blocks.#.${leaf}`),
];

/** Modules of a ResnetBlock2D below its own path. */
export const RESNET_2D: readonly string[] = ['norm1', 'conv1', 'time_emb_proj', 'norm2', 'conv2', 'conv_shortcut'];
