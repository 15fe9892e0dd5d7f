/**
 * Module templates of diffusion transformers whose names are taken apart but not renamed: their adapters keep the
 * model's own names. Sources: LAYOUTS.md §2.5, §2.12, §2.15.
 */
const ATTN_ADDED = [
	'to_q',
	'to_k',
	'to_v',
	'to_out.0',
	'add_q_proj',
	'add_k_proj',
	'add_v_proj',
	'to_add_out',
	'norm_q',
	'norm_k',
	'norm_added_q',
	'norm_added_k',
];
const EMBED = ['time_text_embed.timestep_embedder.linear_1', 'time_text_embed.timestep_embedder.linear_2', 'norm_out.linear', 'proj_out'];

function under(prefix: string, leaves: readonly string[]): string[] {
	return leaves.map((leaf) => `${prefix}.${leaf}`);
}

/** Qwen-Image (its own names are diffusers'). */
export function qwenImageTemplates(): string[] {
	return [
		'img_in',
		'txt_in',
		'txt_norm',
		...EMBED,
		...under('transformer_blocks.#.attn', ATTN_ADDED),
		...['img', 'txt'].flatMap((s) => under('transformer_blocks.#', [`${s}_mlp.net.0.proj`, `${s}_mlp.net.2`, `${s}_mod.1`])),
	];
}

/** Z-Image and Lumina 2: one grammar, both the fused and the split attention. */
export function zImageTemplates(): string[] {
	const attention = ['qkv', 'out', 'to_q', 'to_k', 'to_v', 'to_out.0', 'norm_q', 'norm_k', 'q_norm', 'k_norm'];
	const block = [
		...under('attention', attention),
		...under('feed_forward', ['w1', 'w2', 'w3']),
		'adaLN_modulation.0',
		'adaLN_modulation.1',
		...['attention_norm1', 'attention_norm2', 'ffn_norm1', 'ffn_norm2'],
	];
	return [
		...['layers.#', 'noise_refiner.#', 'context_refiner.#'].flatMap((prefix) => under(prefix, block)),
		...['x_embedder', 'all_x_embedder.2-1', 'cap_embedder.0', 'cap_embedder.1', 't_embedder.mlp.0', 't_embedder.mlp.2'],
		...['final_layer', 'all_final_layer.2-1'].flatMap((prefix) => under(prefix, ['linear', 'adaLN_modulation.1'])),
	];
}

/** HunyuanVideo's own names: fused names with `_` where Flux has `.`. */
export function hunyuanVideoTemplates(): string[] {
	const stream = ['attn_qkv', 'attn_proj', 'mlp.fc1', 'mlp.fc2', 'mod.linear', 'attn_q_norm', 'attn_k_norm'];
	const refiner = ['self_attn_qkv', 'self_attn_proj', 'mlp.fc1', 'mlp.fc2', 'adaLN_modulation.1', 'norm1', 'norm2'];
	return [
		...['img', 'txt'].flatMap((s) => stream.map((leaf) => `double_blocks.#.${s}_${leaf}`)),
		...under('single_blocks.#', ['linear1', 'linear2', 'modulation.linear', 'q_norm', 'k_norm']),
		...['img_in.proj', 'txt_in.input_embedder', 'txt_in.t_embedder.mlp.0', 'txt_in.t_embedder.mlp.2'],
		...['txt_in.c_embedder.linear_1', 'txt_in.c_embedder.linear_2'],
		...under('txt_in.individual_token_refiner.blocks.#', refiner),
		...['time_in', 'guidance_in'].flatMap((prefix) => under(prefix, ['mlp.0', 'mlp.2'])),
		...under('vector_in', ['in_layer', 'out_layer']),
		...under('final_layer', ['linear', 'adaLN_modulation.1']),
	];
}

/** What Flux.2 has beyond Flux.1, in either spelling. */
export function flux2Templates(): { bfl: string[]; diffusers: string[] } {
	return {
		bfl: ['double_stream_modulation_img.lin', 'double_stream_modulation_txt.lin', 'single_stream_modulation.lin'],
		diffusers: [
			...['double_stream_modulation_img', 'double_stream_modulation_txt', 'single_stream_modulation'].map((m) => `${m}.linear`),
			...under('single_transformer_blocks.#.attn', ['to_qkv_mlp_proj', 'to_out']),
			...under('transformer_blocks.#', ['ff.linear_in', 'ff.linear_out', 'ff_context.linear_in', 'ff_context.linear_out']),
			...under('time_guidance_embed', [
				'timestep_embedder.linear_1',
				'timestep_embedder.linear_2',
				'guidance_embedder.linear_1',
				'guidance_embedder.linear_2',
			]),
		],
	};
}

/** PixArt, LTX and other transformers with diffusers' plain blocks. */
export function plainBlockTemplates(): string[] {
	const attention = ['attn1', 'attn2'].flatMap((attn) => under(attn, ['to_q', 'to_k', 'to_v', 'to_out.0', 'norm_q', 'norm_k']));
	return [
		...under('transformer_blocks.#', [...attention, 'ff.net.0.proj', 'ff.net.2']),
		...['proj_in', 'proj_out', 'pos_embed.proj', 'patchify_proj', 'caption_projection.linear_1', 'caption_projection.linear_2'],
		...['adaln_single.linear', 'adaln_single.emb.timestep_embedder.linear_1', 'adaln_single.emb.timestep_embedder.linear_2'],
	];
}

/** Mochi: diffusers' names, and its own (LAYOUTS.md §2.20 for the bare leaves; the own names from memory of genmo's model). */
export function mochiTemplates(): { native: string[]; diffusers: string[] } {
	const streams = ['x', 'y'].flatMap((s) => [`attn.qkv_${s}`, `attn.proj_${s}`, `mlp_${s}.w1`, `mlp_${s}.w2`, `mod_${s}`]);
	const added = ['to_q', 'to_k', 'to_v', 'to_out.0', 'add_q_proj', 'add_k_proj', 'add_v_proj', 'to_add_out'];
	const ff = ['ff', 'ff_context'].flatMap((f) => [`${f}.net.0.proj`, `${f}.net.2`]);
	return {
		native: under('blocks.#', streams),
		diffusers: [...under('transformer_blocks.#.attn1', added), ...under('transformer_blocks.#', ff)],
	};
}

/** HiDream's block templates. */
export function hiDreamTemplates(): string[] {
	const attention = ['to_q', 'to_k', 'to_v', 'to_out', 'to_q_t', 'to_k_t', 'to_v_t', 'to_out_t'];
	const experts = ['w1', 'w2', 'w3'].flatMap((w) => [`ff_i.experts.#.${w}`, `ff_i.shared_experts.${w}`, `ff_i.${w}`, `ff_t.${w}`]);
	const block = [...under('attn1', attention), ...experts, 'adaLN_modulation.1'];
	return ['double_stream_blocks.#.block', 'single_stream_blocks.#.block'].flatMap((prefix) => under(prefix, block));
}

/** Anima (Cosmos-Predict2 blocks). */
export function animaTemplates(): string[] {
	const attention = ['q_proj', 'k_proj', 'v_proj', 'output_proj', 'q_norm', 'k_norm'];
	return [
		...['self_attn', 'cross_attn'].flatMap((attn) => under(`blocks.#.${attn}`, attention)),
		...under('blocks.#.mlp', ['layer1', 'layer2']),
		...['self_attn', 'cross_attn', 'mlp'].flatMap((part) => under(`blocks.#.adaln_modulation_${part}`, ['1', '2'])),
		...['x_embedder.proj.1', 'final_layer.linear', 'final_layer.adaln_modulation.1', 'final_layer.adaln_modulation.2'],
	];
}
