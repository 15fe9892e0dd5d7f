import { describe, expect, it } from 'vitest';
import { parseDiffusersKey, processorModule } from '../../src/layouts/diffusers-key.js';

const NONE = new Set<string>();
const A1 = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1';
const T0 = 'text_model.encoder.layers.0';

describe('parseDiffusersKey', () => {
	// Key -> prefix, component, path, role, spelling. From LAYOUTS §2.7 to 2.9 and §2.21.
	const live: readonly (readonly [string, string, string, string, string, string])[] = [
		[`${A1}.processor.to_q_lora.down.weight`, '', 'unet', `${A1}.to_q`, 'down', 'processor'],
		[`${A1}.processor.to_out_lora.up.weight`, '', 'unet', `${A1}.to_out.0`, 'up', 'processor'],
		[`unet.${A1}.processor.to_k_lora.up.weight`, 'unet', 'unet', `${A1}.to_k`, 'up', 'processor'],
		[`unet.${A1}.to_out.0.lora.down.weight`, 'unet', 'unet', `${A1}.to_out.0`, 'down', 'lora'],
		['unet.conv_in.lora_A.weight', 'unet', 'unet', 'conv_in', 'down', 'peft'],
		[`unet.${A1}.to_q.lora_magnitude_vector`, 'unet', 'unet', `${A1}.to_q`, 'magnitude', 'peft'],
		[`unet.${A1}.to_q.lora_magnitude_vector.weight`, 'unet', 'unet', `${A1}.to_q`, 'magnitude', 'peft'],
		[`unet.${A1}.to_q.lora_B.bias`, 'unet', 'unet', `${A1}.to_q`, 'up_bias', 'peft'],
		[`unet.${A1}.to_q.lora.up.bias`, 'unet', 'unet', `${A1}.to_q`, 'up_bias', 'lora'],
		[`unet.${A1}.to_q.alpha`, 'unet', 'unet', `${A1}.to_q`, 'alpha', 'any'],
		[
			`text_encoder.${T0}.self_attn.q_proj.lora_linear_layer.up.weight`,
			'text_encoder',
			'text_encoder',
			`${T0}.self_attn.q_proj`,
			'up',
			'linear',
		],
		[`text_encoder_2.${T0}.mlp.fc1.lora_A.weight`, 'text_encoder_2', 'text_encoder_2', `${T0}.mlp.fc1`, 'down', 'peft'],
		[`text_encoder_1.${T0}.mlp.fc1.lora_A.weight`, 'text_encoder_1', 'text_encoder', `${T0}.mlp.fc1`, 'down', 'peft'],
		[
			'text_encoder.encoder.layers.3.mlp.fc2.lora_A.weight',
			'text_encoder',
			'text_encoder',
			'text_model.encoder.layers.3.mlp.fc2',
			'down',
			'peft',
		],
		[
			`text_encoder.${T0}.self_attn.k_proj.to_k_lora.down.weight`,
			'text_encoder',
			'text_encoder',
			`${T0}.self_attn.k_proj`,
			'down',
			'te-four',
		],
		[
			`text_encoder.${T0}.self_attn.to_out_lora.down.weight`,
			'text_encoder',
			'text_encoder',
			`${T0}.self_attn.out_proj`,
			'down',
			'te-attention',
		],
		['text_encoder.text_projection.lora.down.weight', 'text_encoder', 'text_encoder', 'text_projection', 'down', 'lora'],
		[
			'transformer.transformer_blocks.0.attn.to_q.lora_A.weight',
			'transformer',
			'transformer',
			'transformer_blocks.0.attn.to_q',
			'down',
			'peft',
		],
		['transformer_2.blocks.0.attn1.to_q.lora_B.weight', 'transformer_2', 'transformer_2', 'blocks.0.attn1.to_q', 'up', 'peft'],
		['prior.blocks.0.0.attention.to_q.lora_A.weight', 'prior', 'prior', 'blocks.0.0.attention.to_q', 'down', 'peft'],
		['connectors.audio.proj.lora_A.weight', 'connectors', 'connectors', 'audio.proj', 'down', 'peft'],
		['movie_unet.down_blocks.0.resnets.0.conv1.lora_A.weight', 'movie_unet', 'movie_unet', 'down_blocks.0.resnets.0.conv1', 'down', 'peft'],
		[`${A1}.to_q.lora_A.weight`, '', 'unet', `${A1}.to_q`, 'down', 'peft'],
		['single_transformer_blocks.3.proj_mlp.lora_B.weight', '', 'transformer', 'single_transformer_blocks.3.proj_mlp', 'up', 'peft'],
	];
	it.each(live)('%s', (key, prefix, component, path, role, spelling) => {
		expect(parseDiffusersKey(key, NONE)).toMatchObject({
			prefix,
			component,
			path,
			role,
			spelling,
			dead: undefined,
			adapterName: undefined,
		});
	});

	it.each([
		[`text_encoder.${T0}.self_attn.q_proj.to_k_lora.down.weight`, 'q_proj', 'to_k'],
		[`text_encoder.${T0}.self_attn.out_proj.to_v_lora.up.weight`, 'out_proj', 'to_v'],
	])('%s is dead', (key, at, which) => {
		expect(parseDiffusersKey(key, NONE)?.dead).toBe(
			`diffusers 0.17 put ${which}_lora on ${at} too, but only ever called it on ${which === 'to_k' ? 'k_proj' : 'v_proj'}`,
		);
	});

	it.each([
		'lora_unet_down_blocks_0_attentions_0_proj_in.lora_down.weight',
		'base_model.model.down_blocks.0.resnets.0.conv1.lora_A.weight',
		'unet.base_model.model.conv_in.lora_A.weight',
		'diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight',
		'unet.conv_in.lora_down.weight',
		'unet.conv_in.weight',
		`unet.${A1}.processor.to_z_lora.down.weight`,
		'model.layers.0.self_attn.q_proj.lora_A.weight',
		'__proto__',
		'unet',
		'',
		'.',
	])('%s is not diffusers', (key) => {
		expect(parseDiffusersKey(key, NONE)).toBeUndefined();
	});

	it('takes the name of an adapter out of the leaf', () => {
		expect(parseDiffusersKey('transformer.transformer_blocks.0.attn.to_q.lora_A.default.weight', NONE)).toMatchObject({
			path: 'transformer_blocks.0.attn.to_q',
			role: 'down',
			suffix: '.lora_A.weight',
			adapterName: 'default',
		});
	});

	it('believes the metadata about components it does not know', () => {
		const key = 'vision_tower.a.lora_A.weight';
		expect(parseDiffusersKey(key, NONE)).toBeUndefined();
		expect(parseDiffusersKey(key, new Set(['vision_tower']))).toMatchObject({ component: 'vision_tower', path: 'a' });
	});
});

describe('processorModule', () => {
	it.each([
		[`${A1}.to_q`, `${A1}.processor.to_q`],
		[`${A1}.to_out.0`, `${A1}.processor.to_out`],
		['down_blocks.0.attentions.0.proj_in', undefined],
		['down_blocks.0.attentions.0.transformer_blocks.0.ff.net.0.proj', undefined],
	])('%s -> %s', (path, expected) => {
		expect(processorModule(path)).toBe(expected);
	});
});
