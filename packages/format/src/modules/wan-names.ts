import { type NamingRow, type NamingTable, namingTable, renameRow } from './naming-table.js';

function attention(wan: 'self_attn' | 'cross_attn', diffusers: 'attn1' | 'attn2'): NamingRow[] {
	const leaves: readonly (readonly [string, string])[] = [
		['q', 'to_q'],
		['k', 'to_k'],
		['v', 'to_v'],
		['o', 'to_out.0'],
		['norm_q', 'norm_q'],
		['norm_k', 'norm_k'],
		// image-to-video only
		['k_img', 'add_k_proj'],
		['v_img', 'add_v_proj'],
		['norm_k_img', 'norm_added_k'],
	];
	const of = wan === 'self_attn' ? leaves.slice(0, 6) : leaves;
	return of.map(([from, to]) => renameRow(`blocks.#.${wan}.${from}`, `blocks.#.${diffusers}.${to}`));
}

/** Wan 2.x: its own names <-> diffusers' (LAYOUTS.md §2.15; a pure rename, nothing is fused). */
export const WAN_NAMES: NamingTable = namingTable([
	renameRow('patch_embedding', 'patch_embedding'),
	renameRow('text_embedding.0', 'condition_embedder.text_embedder.linear_1'),
	renameRow('text_embedding.2', 'condition_embedder.text_embedder.linear_2'),
	renameRow('time_embedding.0', 'condition_embedder.time_embedder.linear_1'),
	renameRow('time_embedding.2', 'condition_embedder.time_embedder.linear_2'),
	renameRow('time_projection.1', 'condition_embedder.time_proj'),
	renameRow('img_emb.proj.0', 'condition_embedder.image_embedder.norm1'),
	renameRow('img_emb.proj.1', 'condition_embedder.image_embedder.ff.net.0.proj'),
	renameRow('img_emb.proj.3', 'condition_embedder.image_embedder.ff.net.2'),
	renameRow('img_emb.proj.4', 'condition_embedder.image_embedder.norm2'),
	...attention('self_attn', 'attn1'),
	...attention('cross_attn', 'attn2'),
	renameRow('blocks.#.ffn.0', 'blocks.#.ffn.net.0.proj'),
	renameRow('blocks.#.ffn.2', 'blocks.#.ffn.net.2'),
	// Wan's only affine norm of a block is its third; diffusers calls it norm2.
	renameRow('blocks.#.norm3', 'blocks.#.norm2'),
	renameRow('head.head', 'proj_out'),
]);
