import { describe, expect, it } from 'vitest';
import { placeBaseTensor } from '../../src/bases/index.js';

/** component, name, shape -> what it is: `component path leaf`, with `@from-to` for rows and `^T` for a transposed one. */
function say(component: string | undefined, name: string, shape: readonly number[]): string[] {
	return placeBaseTensor(component, name, shape).map(
		({ component: c, path, leaf, rows, transposed, shape: s }) =>
			`${c} ${path} ${leaf} (${s.join(',')})${rows === undefined ? '' : ` @${rows.join('-')}`}${transposed ? ' ^T' : ''}`,
	);
}

const LDM = 'model.diffusion_model';
const LAYER = 'text_model.encoder.layers.3';

describe('placeBaseTensor', () => {
	it.each<readonly [string | undefined, string, readonly number[], readonly string[]]>([
		// diffusers folders
		['unet', 'down_blocks.0.attentions.0.proj_in.weight', [8, 8, 1, 1], ['unet down_blocks.0.attentions.0.proj_in weight (8,8,1,1)']],
		['unet', 'conv_in.bias', [8], ['unet conv_in bias (8)']],
		['text_encoder', `${LAYER}.mlp.fc1.weight`, [8, 4], [`text_encoder ${LAYER}.mlp.fc1 weight (8,4)`]],
		['text_encoder_2', 'encoder.layers.3.mlp.fc1.bias', [8], [`text_encoder_2 ${LAYER}.mlp.fc1 bias (8)`]],
		['text_encoder', 'text_model.embeddings.position_ids', [1, 77], []],
		['transformer', 'transformer_blocks.0.attn.norm_q.weight', [8], ['transformer transformer_blocks.0.attn.norm_q weight (8)']],
		[
			'transformer',
			'double_blocks.0.img_attn.norm.query_norm.scale',
			[8],
			['transformer double_blocks.0.img_attn.norm.query_norm weight (8)'],
		],
		['transformer', 'blocks.0.scale_shift_table', [1, 6, 8], ['transformer blocks.0 modulation (1,6,8)']],
		// LDM, SD1: proj_in is a convolution here and there
		[undefined, `${LDM}.input_blocks.1.1.proj_in.weight`, [8, 8, 1, 1], ['unet down_blocks.0.attentions.0.proj_in weight (8,8,1,1)']],
		[
			undefined,
			`${LDM}.output_blocks.11.1.transformer_blocks.0.attn2.to_k.weight`,
			[8, 6],
			['unet up_blocks.3.attentions.2.transformer_blocks.0.attn2.to_k weight (8,6)'],
		],
		[undefined, `${LDM}.input_blocks.1.0.in_layers.2.bias`, [8], ['unet down_blocks.0.resnets.0.conv1 bias (8)']],
		[undefined, `cond_stage_model.transformer.${LAYER}.self_attn.q_proj.bias`, [4], [`text_encoder ${LAYER}.self_attn.q_proj bias (4)`]],
		[undefined, 'first_stage_model.encoder.conv_in.weight', [8, 3, 3, 3], []],
		[undefined, 'model_ema.diffusion_modelinput_blocks11proj_inweight', [8, 8, 1, 1], []],
		[undefined, 'alphas_cumprod', [1000], []],
		// SD2: OpenCLIP with q, k, v in one
		[
			undefined,
			'cond_stage_model.model.transformer.resblocks.3.attn.in_proj_weight',
			[12, 4],
			[
				`text_encoder ${LAYER}.self_attn.q_proj weight (4,4) @0-4`,
				`text_encoder ${LAYER}.self_attn.k_proj weight (4,4) @4-8`,
				`text_encoder ${LAYER}.self_attn.v_proj weight (4,4) @8-12`,
			],
		],
		[
			undefined,
			'cond_stage_model.model.transformer.resblocks.3.attn.in_proj_bias',
			[12],
			[
				`text_encoder ${LAYER}.self_attn.q_proj bias (4) @0-4`,
				`text_encoder ${LAYER}.self_attn.k_proj bias (4) @4-8`,
				`text_encoder ${LAYER}.self_attn.v_proj bias (4) @8-12`,
			],
		],
		[undefined, 'cond_stage_model.model.transformer.resblocks.23.mlp.c_fc.weight', [16, 4], []],
		[undefined, 'cond_stage_model.model.text_projection', [4, 6], ['text_encoder text_projection weight (6,4) ^T']],
		[
			undefined,
			'cond_stage_model.model.positional_embedding',
			[77, 4],
			['text_encoder text_model.embeddings.position_embedding weight (77,4)'],
		],
		[undefined, 'cond_stage_model.model.ln_final.bias', [4], ['text_encoder text_model.final_layer_norm bias (4)']],
		// SDXL: both encoders
		[undefined, `conditioner.embedders.0.transformer.${LAYER}.mlp.fc2.weight`, [4, 8], [`text_encoder ${LAYER}.mlp.fc2 weight (4,8)`]],
		[undefined, 'conditioner.embedders.1.model.transformer.resblocks.3.mlp.c_proj.bias', [4], [`text_encoder_2 ${LAYER}.mlp.fc2 bias (4)`]],
		[undefined, 'conditioner.embedders.1.model.text_projection', [4, 6], ['text_encoder_2 text_projection weight (6,4) ^T']],
		[undefined, `${LDM}.label_emb.0.0.weight`, [8, 6], ['unet add_embedding.linear_1 weight (8,6)']],
		// transformers and lone files
		[undefined, `${LDM}.double_blocks.0.img_attn.qkv.weight`, [12, 4], ['transformer double_blocks.0.img_attn.qkv weight (12,4)']],
		[undefined, 'double_blocks.0.img_attn.qkv.bias', [12], ['transformer double_blocks.0.img_attn.qkv bias (12)']],
		[undefined, `${LDM}.joint_blocks.0.x_block.attn.qkv.weight`, [12, 4], ['transformer joint_blocks.0.x_block.attn.qkv weight (12,4)']],
		[undefined, 'blocks.0.modulation', [1, 6, 8], ['transformer blocks.0 modulation (1,6,8)']],
		[undefined, 'down_blocks.0.attentions.0.proj_in.bias', [8], ['unet down_blocks.0.attentions.0.proj_in bias (8)']],
		[undefined, `text_encoders.clip_l.transformer.${LAYER}.mlp.fc1.weight`, [8, 4], [`text_encoder ${LAYER}.mlp.fc1 weight (8,4)`]],
		[undefined, `text_encoders.clip_g.transformer.${LAYER}.mlp.fc1.weight`, [8, 4], [`text_encoder_2 ${LAYER}.mlp.fc1 weight (8,4)`]],
		[undefined, 'something.else', [2], []],
		[undefined, '.weight', [2], []],
	])('%s %s', (component, name, shape, expected) => {
		expect(say(component, name, shape)).toEqual(expected);
	});
});
