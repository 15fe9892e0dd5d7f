import { type NamingRow, type NamingTable, namingTable, renameRow } from './naming-table.js';

function stream(sai: 'x_block' | 'context_block'): NamingRow[] {
	const x = sai === 'x_block';
	const from = `joint_blocks.#.${sai}`;
	const to = 'transformer_blocks.#';
	const qkv = x ? ['to_q', 'to_k', 'to_v'] : ['add_q_proj', 'add_k_proj', 'add_v_proj'];
	const ff = x ? 'ff' : 'ff_context';
	return [
		{ native: `${from}.attn.qkv`, parts: qkv.map((leaf) => `${to}.attn.${leaf}`), rule: 'equal' },
		renameRow(`${from}.attn.proj`, `${to}.attn.${x ? 'to_out.0' : 'to_add_out'}`),
		renameRow(`${from}.attn.ln_q`, `${to}.attn.${x ? 'norm_q' : 'norm_added_q'}`),
		renameRow(`${from}.attn.ln_k`, `${to}.attn.${x ? 'norm_k' : 'norm_added_k'}`),
		renameRow(`${from}.mlp.fc1`, `${to}.${ff}.net.0.proj`),
		renameRow(`${from}.mlp.fc2`, `${to}.${ff}.net.2`),
		// The last block's context has only scale and shift, which diffusers keeps the other way round.
		{
			native: `${from}.adaLN_modulation.1`,
			parts: [`${to}.${x ? 'norm1' : 'norm1_context'}.linear`],
			rule: x ? 'rename' : 'swap-if-two',
		},
	];
}

/**
 * SD3 and SD3.5: Stability's names <-> diffusers' (LAYOUTS.md §3; the modules outside the blocks after
 * huggingface/diffusers@58eb52c loaders/single_file_utils.py convert_sd3_transformer_checkpoint_to_diffusers).
 */
export const SD3_NAMES: NamingTable = namingTable([
	renameRow('x_embedder.proj', 'pos_embed.proj'),
	renameRow('context_embedder', 'context_embedder'),
	renameRow('t_embedder.mlp.0', 'time_text_embed.timestep_embedder.linear_1'),
	renameRow('t_embedder.mlp.2', 'time_text_embed.timestep_embedder.linear_2'),
	renameRow('y_embedder.mlp.0', 'time_text_embed.text_embedder.linear_1'),
	renameRow('y_embedder.mlp.2', 'time_text_embed.text_embedder.linear_2'),
	...stream('x_block'),
	...stream('context_block'),
	{
		native: 'joint_blocks.#.x_block.attn2.qkv',
		parts: ['to_q', 'to_k', 'to_v'].map((leaf) => `transformer_blocks.#.attn2.${leaf}`),
		rule: 'equal',
	},
	renameRow('joint_blocks.#.x_block.attn2.proj', 'transformer_blocks.#.attn2.to_out.0'),
	renameRow('joint_blocks.#.x_block.attn2.ln_q', 'transformer_blocks.#.attn2.norm_q'),
	renameRow('joint_blocks.#.x_block.attn2.ln_k', 'transformer_blocks.#.attn2.norm_k'),
	renameRow('final_layer.linear', 'proj_out'),
	{ native: 'final_layer.adaLN_modulation.1', parts: ['norm_out.linear'], rule: 'swap' },
]);
