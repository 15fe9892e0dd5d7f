import { type NamingRow, type NamingTable, namingTable, renameRow } from './naming-table.js';

function stream(bfl: 'img' | 'txt'): NamingRow[] {
	const img = bfl === 'img';
	const to = 'transformer_blocks.#';
	const from = `double_blocks.#.${bfl}`;
	const qkv = img ? ['to_q', 'to_k', 'to_v'] : ['add_q_proj', 'add_k_proj', 'add_v_proj'];
	const ff = img ? 'ff' : 'ff_context';
	return [
		{ native: `${from}_attn.qkv`, parts: qkv.map((leaf) => `${to}.attn.${leaf}`), rule: 'equal' },
		renameRow(`${from}_attn.proj`, `${to}.attn.${img ? 'to_out.0' : 'to_add_out'}`),
		renameRow(`${from}_attn.norm.query_norm`, `${to}.attn.${img ? 'norm_q' : 'norm_added_q'}`),
		renameRow(`${from}_attn.norm.key_norm`, `${to}.attn.${img ? 'norm_k' : 'norm_added_k'}`),
		renameRow(`${from}_mlp.0`, `${to}.${ff}.net.0.proj`),
		renameRow(`${from}_mlp.2`, `${to}.${ff}.net.2`),
		renameRow(`${from}_mod.lin`, `${to}.${img ? 'norm1' : 'norm1_context'}.linear`),
	];
}

function embedder(bfl: string, diffusers: string): NamingRow[] {
	return [
		renameRow(`${bfl}.in_layer`, `time_text_embed.${diffusers}.linear_1`),
		renameRow(`${bfl}.out_layer`, `time_text_embed.${diffusers}.linear_2`),
	];
}

/** Flux.1: Black Forest Labs' names <-> diffusers' (LAYOUTS.md §3; verified there against a real FluxTransformer2DModel). */
export const FLUX_NAMES: NamingTable = namingTable([
	renameRow('img_in', 'x_embedder'),
	renameRow('txt_in', 'context_embedder'),
	...embedder('time_in', 'timestep_embedder'),
	...embedder('vector_in', 'text_embedder'),
	...embedder('guidance_in', 'guidance_embedder'),
	...stream('img'),
	...stream('txt'),
	{
		native: 'single_blocks.#.linear1',
		parts: ['attn.to_q', 'attn.to_k', 'attn.to_v', 'proj_mlp'].map((leaf) => `single_transformer_blocks.#.${leaf}`),
		rule: 'hidden-mlp',
	},
	renameRow('single_blocks.#.linear2', 'single_transformer_blocks.#.proj_out'),
	renameRow('single_blocks.#.modulation.lin', 'single_transformer_blocks.#.norm.linear'),
	renameRow('single_blocks.#.norm.query_norm', 'single_transformer_blocks.#.attn.norm_q'),
	renameRow('single_blocks.#.norm.key_norm', 'single_transformer_blocks.#.attn.norm_k'),
	renameRow('final_layer.linear', 'proj_out'),
	{ native: 'final_layer.adaLN_modulation.1', parts: ['norm_out.linear'], rule: 'swap' },
]);

/** What Chroma has beyond Flux.1 (it has none of the modulations). */
export const CHROMA_NAMES: NamingTable = namingTable([
	renameRow('distilled_guidance_layer.in_proj', 'distilled_guidance_layer.in_proj'),
	renameRow('distilled_guidance_layer.out_proj', 'distilled_guidance_layer.out_proj'),
	renameRow('distilled_guidance_layer.layers.#.in_layer', 'distilled_guidance_layer.layers.#.linear_1'),
	renameRow('distilled_guidance_layer.layers.#.out_layer', 'distilled_guidance_layer.layers.#.linear_2'),
	renameRow('distilled_guidance_layer.norms.#', 'distilled_guidance_layer.norms.#'),
]);
