import type { StateDict } from '../state-dict.js';

/** What a tensor file is, when it is no LoRA. */
export interface NonLora {
	/** "a Stable Diffusion checkpoint". */
	readonly what: string;
	/** The evidence: "712 names begin with model.diffusion_model.". No full stop. */
	readonly why: string;
	/** One sentence. */
	readonly advice: string;
}

interface Rule {
	readonly what: string;
	readonly advice: string;
	/** True for names that decide. */
	readonly matches: (name: string, file: StateDict) => boolean;
	/** How the names look, for `why`. */
	readonly looks: string;
	/** Share of the file's names that must match; 0: one is enough. */
	readonly share: number;
}

const CHECKPOINT_ADVICE = 'Put it where checkpoints go, or use "--to keep" to change its container.';
const KEEP = 'Use "--to keep" to change its container.';

function starts(...prefixes: readonly string[]): (name: string) => boolean {
	return (name) => prefixes.some((p) => name.startsWith(p));
}

/** In order: the first that fits wins. Sources: LAYOUTS.md §2.18, §2.19, §9. */
const RULES: readonly Rule[] = [
	{
		what: 'a full Stable Diffusion checkpoint',
		looks: 'have the prefixes of a checkpoint (model.diffusion_model, first_stage_model, cond_stage_model, conditioner)',
		matches: (name) =>
			starts('model.diffusion_model.', 'cond_stage_model.', 'first_stage_model.', 'conditioner.embedders.', 'model_ema.')(name) &&
			!name.includes('.lora_'),
		share: 0.5,
		advice: CHECKPOINT_ADVICE,
	},
	{
		what: 'a ControlNet-LLLite model',
		looks: 'begin with lllite_',
		matches: starts('lllite_'),
		share: 0,
		advice: 'Load it with a ControlNet-LLLite extension.',
	},
	{
		what: 'a Stability control-LoRA, which is a ControlNet in low rank',
		looks: 'are lora_controlnet',
		matches: (name) => name === 'lora_controlnet',
		share: 0,
		advice: 'Load it as a ControlNet.',
	},
	{
		what: 'a ControlNet',
		looks: 'begin with control_model., controlnet_ or input_hint_block',
		matches: starts(
			'control_model.',
			'controlnet_cond_embedding.',
			'controlnet_down_blocks.',
			'controlnet_mid_block.',
			'controlnet_blocks.',
			'zero_convs.',
			'input_hint_block.',
		),
		share: 0,
		advice: 'Load it as a ControlNet.',
	},
	{
		what: 'an IP-Adapter',
		looks: 'begin with ip_adapter. or image_proj., or are numbered attention processors',
		matches: (name) =>
			starts('ip_adapter.', 'image_proj.')(name) || /^\d+\.to_[kqv]_(ip|lora)\b/.test(name) || /^\d+\.to_(k_ip|v_ip|out_lora)/.test(name),
		share: 0,
		advice: 'Load it as an IP-Adapter.',
	},
	{
		what: 'a T2I-Adapter',
		looks: 'are body.N.block or adapter.body',
		matches: (name) => /^(adapter\.)?body\.\d+\.(resnets\.\d+\.)?(block1|block2|in_conv)\b/.test(name) || name.startsWith('adapter.body.'),
		share: 0.5,
		advice: 'Load it as a T2I-Adapter.',
	},
	{
		what: "a trainer's optimizer state, not weights",
		looks: 'belong to an optimizer (exp_avg, param_groups, DeepSpeed partitions)',
		matches: (name) =>
			/(^|\.)(exp_avg|exp_avg_sq|max_exp_avg_sq|momentum_buffer|optimizer_state_dict|fp32_flat_groups|single_partition_of_fp32_groups|base_optimizer_state)(\.|$|\[)/.test(
				name,
			) ||
			/^(optimizer|optimizer_states|optimizer_state)(\.|\[)/.test(name) ||
			/^state(\.|\[)\d+(\]|\.)/.test(name),
		share: 0.3,
		advice: 'The weights are in another file of the same folder (pytorch_lora_weights, model.safetensors, pytorch_model.bin).',
	},
	{
		what: 'a DeepSpeed or accelerate training checkpoint',
		looks: 'begin with module., beside optimizer parts',
		matches: starts('module.', '_forward_module.'),
		share: 0.9,
		advice: "Extract the LoRA with the trainer's own script (zero_to_fp32.py), then convert that.",
	},
	{
		what: 'a textual-inversion embedding',
		looks: 'are emb_params, string_to_param.*, clip_l, clip_g or t5',
		matches: (name, file) => isEmbeddingName(name) && (file.tensors.get(name)?.shape.length ?? 9) <= 2,
		share: 0.99,
		advice: 'Put it where embeddings go and write its name in the prompt.',
	},
	{
		what: 'a bundle of textual-inversion embeddings',
		looks: 'begin with bundle_emb.',
		matches: starts('bundle_emb.'),
		share: 0.99,
		advice: KEEP,
	},
	{
		what: 'a hypernetwork',
		looks: 'are numbered by width (320, 640, 768, 1024, 1280)',
		matches: (name) => /^(320|640|768|1024|1280|2048)(\.|\[)/.test(name),
		share: 0.9,
		advice: 'Put it where hypernetworks go.',
	},
	{
		what: 'a VAE',
		looks: 'begin with encoder, decoder, quant_conv or post_quant_conv',
		matches: (name) =>
			/^(encoder|decoder)\.(conv_in|conv_out|down|up|mid|down_blocks|up_blocks|mid_block|norm_out|conv_norm_out)\b/.test(name) ||
			starts('quant_conv.', 'post_quant_conv.')(name),
		share: 0.7,
		advice: 'Load it as a VAE.',
	},
	{
		what: 'the weights of a whole UNet',
		looks: 'are whole weights of UNet modules',
		matches: (name) =>
			/^(unet\.)?(down_blocks|up_blocks|mid_block|conv_in|conv_out|time_embedding|input_blocks|output_blocks|middle_block|time_embed)\..*(weight|bias)$/.test(
				name,
			) && !/lora|hada|lokr|_norm_w/.test(name),
		share: 0.7,
		advice: CHECKPOINT_ADVICE,
	},
	{
		what: 'the weights of a whole diffusion transformer',
		looks: 'are whole weights of transformer blocks',
		matches: (name) =>
			/^((model\.)?diffusion_model\.|transformer\.)?(double_blocks|single_blocks|joint_blocks|transformer_blocks|single_transformer_blocks|blocks|layers)\.\d+\..*(weight|bias|scale)$/.test(
				name,
			) && !/lora|hada|lokr|processor|self_attn\.[qkvo]_proj|mlp\.(gate|up|down)_proj|layernorm/.test(name),
		share: 0.7,
		advice: CHECKPOINT_ADVICE,
	},
	{
		what: 'the weights of a CLIP model',
		looks: 'are whole weights of CLIP (text_model., vision_model.)',
		matches: (name) =>
			/^(text_model|vision_model|visual_projection|text_projection|logit_scale|transformer\.resblocks|token_embedding|positional_embedding|ln_final|visual)\b/.test(
				name,
			) && !/lora/.test(name),
		share: 0.7,
		advice: KEEP,
	},
	{
		what: 'the weights of a text model',
		looks: 'are whole weights of a language model or T5',
		matches: (name) =>
			(/^(model\.)?(layers\.\d+\.|embed_tokens\.|norm\.)|^lm_head\.|^(encoder|decoder)\.block\.\d+\.|^shared\.weight$|^transformer\.h\.\d+\.|^(bert|roberta)\./.test(
				name,
			) ||
				name.startsWith('model.layers.')) &&
			!/lora|hada|lokr|ia3/.test(name),
		share: 0.7,
		advice: KEEP,
	},
];

/** Names that an embedding file consists of; a lone token such as `<s1>` or `*` is one too. */
function isEmbeddingName(name: string): boolean {
	return (
		/^(emb_params|clip_l|clip_g|clip_h|t5|t5xxl|string_to_param\.\*|string_to_param\[.*\]|<[^<>]{1,64}>|\*)$/.test(name) ||
		name.startsWith('string_to_param.')
	);
}

/**
 * Say what a tensor file is when it is one of the things that people put in a LoRA's place; undefined when it is
 * none of them. Reads names and shapes only. Names that carry a LoRA's leaf never count.
 */
export function recogniseNonLora(file: StateDict): NonLora | undefined {
	const total = file.tensors.size;
	if (total === 0) return undefined;
	const counts = RULES.map(() => 0);
	for (const name of file.tensors.keys()) {
		for (const [n, rule] of RULES.entries()) if (rule.matches(name, file)) counts[n] = (counts[n] ?? 0) + 1;
	}
	if (file.top === 'tensor') {
		return { what: 'a single tensor', why: 'its top object is one tensor', advice: KEEP };
	}
	for (const [n, rule] of RULES.entries()) {
		const count = counts[n] ?? 0;
		if (count === 0 || count < rule.share * total) continue;
		return { what: rule.what, why: `${count} of its ${total} names ${rule.looks}`, advice: rule.advice };
	}
	const optimizer = file.nonTensors.some(
		(v) => v.path === 'param_groups' || v.path.startsWith('param_groups') || v.path.startsWith('optimizer'),
	);
	if (optimizer) {
		return {
			what: "a trainer's optimizer state, not weights",
			why: 'it has param_groups',
			advice: 'The weights are in another file of the same folder.',
		};
	}
	return undefined;
}
