import { describe, expect, it } from 'vitest';
import { recogniseNonLora } from '../../src/layouts/not-a-lora.js';
import { fileOf, lora, peftLora, type Spec } from './kohya-helpers.js';

const w = (...names: readonly string[]): Record<string, Spec> => Object.fromEntries(names.map((n) => [n, ['F32', [2, 2]] as Spec]));

describe('recogniseNonLora', () => {
	it.each<[string, Record<string, Spec>, RegExp]>([
		[
			'checkpoint',
			w(
				'model.diffusion_model.input_blocks.0.0.weight',
				'first_stage_model.decoder.conv_in.weight',
				'cond_stage_model.transformer.text_model.embeddings.token_embedding.weight',
			),
			/checkpoint/,
		],
		[
			'SDXL checkpoint',
			w('model.diffusion_model.input_blocks.0.0.weight', 'conditioner.embedders.0.transformer.text_model.final_layer_norm.weight'),
			/checkpoint/,
		],
		['embedding', { emb_params: ['F32', [2, 768]] }, /embedding/],
		['SDXL embedding', { clip_l: ['F32', [2, 768]], clip_g: ['F32', [2, 1280]] }, /embedding/],
		['A1111 embedding', { 'string_to_param.*': ['F32', [2, 768]] }, /embedding/],
		['bare token', { '<s1>': ['F32', [768]] }, /embedding/],
		['bundle', { 'bundle_emb.x.clip_l': ['F32', [2, 768]] }, /bundle/],
		['hypernetwork', w('320[0].linear.0.weight', '640[0].linear.0.weight', '768[1].linear.0.weight'), /hypernetwork/],
		['ControlNet', w('control_model.input_hint_block.0.weight', 'control_model.zero_convs.0.0.weight'), /ControlNet/],
		[
			'diffusers ControlNet',
			w('controlnet_cond_embedding.conv_in.weight', 'controlnet_down_blocks.0.weight', 'down_blocks.0.resnets.0.conv1.weight'),
			/ControlNet/,
		],
		['LLLite', w('lllite_unet_input_blocks_1_1_transformer_blocks_0_attn1_to_q.down.0.weight'), /LLLite/],
		[
			'control-LoRA',
			{ lora_controlnet: ['F32', []], ...w('input_blocks.1.1.proj_in.up', 'input_blocks.1.1.proj_in.down') },
			/control-LoRA/,
		],
		['IP-Adapter', w('ip_adapter.1.to_k_ip.weight', 'image_proj.proj.weight'), /IP-Adapter/],
		['IP-Adapter FaceID LoRA', w('0.to_q_lora.down.weight', '0.to_q_lora.up.weight'), /IP-Adapter/],
		['T2I-Adapter', w('body.0.block1.weight', 'body.0.block2.weight'), /T2I/],
		['VAE', w('encoder.conv_in.weight', 'decoder.conv_out.weight', 'quant_conv.weight', 'encoder.down.0.block.0.conv1.weight'), /VAE/],
		['optimizer', w('state.0.exp_avg', 'state.0.exp_avg_sq', 'state.1.exp_avg'), /optimizer/],
		['DeepSpeed', w('optimizer_state_dict.fp32_flat_groups.0', 'optimizer_state_dict.base_optimizer_state.state.0.exp_avg'), /optimizer/],
		[
			'UNet',
			w(
				'down_blocks.0.resnets.0.conv1.weight',
				'conv_in.weight',
				'conv_in.bias',
				'mid_block.attentions.0.proj_in.weight',
				'down_blocks.0.resnets.0.conv1.bias',
			),
			/UNet/,
		],
		[
			'Flux',
			w('double_blocks.0.img_attn.qkv.weight', 'double_blocks.0.img_attn.norm.key_norm.scale', 'single_blocks.0.linear1.weight'),
			/transformer/,
		],
		['CLIP', w('text_model.encoder.layers.0.mlp.fc1.weight', 'text_model.embeddings.token_embedding.weight'), /CLIP/],
		['Llama', w('model.layers.0.self_attn.q_proj.weight', 'model.embed_tokens.weight', 'lm_head.weight'), /text model/],
		['T5', w('encoder.block.0.layer.0.SelfAttention.q.weight', 'shared.weight'), /text model/],
	])('%s', async (_, specs, what) => {
		const found = recogniseNonLora(await fileOf(specs));
		expect(found?.what).toMatch(what);
		expect(found?.why).toMatch(/^\d+ of its \d+ names /);
		expect(found?.advice.endsWith('.')).toBe(true);
	});

	it.each<[string, Record<string, Spec>]>([
		['kohya', lora('lora_unet_down_blocks_0_attentions_0_proj_in', 8, 8)],
		['PEFT', peftLora('base_model.model.model.layers.0.self_attn.q_proj', 8, 8)],
		['diffusers', peftLora('unet.down_blocks.0.attentions.0.proj_in', 8, 8)],
		['attention processors', w('down_blocks.0.attentions.0.transformer_blocks.0.attn1.processor.to_q_lora.down.weight')],
		['BFL control LoRA', { ...peftLora('double_blocks.0.img_attn.qkv', 8, 8), ...w('double_blocks.0.img_attn.qkv.lora_B.bias') }],
		['XLabs', w('double_blocks.0.processor.qkv_lora1.down.weight', 'double_blocks.0.processor.qkv_lora1.up.weight')],
		['anything else', w('foo.bar')],
		['nothing', {}],
	])('%s is left to the layouts', async (_, specs) => {
		expect(recogniseNonLora(await fileOf(specs))).toBeUndefined();
	});
});
