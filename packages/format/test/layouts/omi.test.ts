import { describe, expect, it } from 'vitest';
import { kohya } from '../../src/layouts/kohya.js';
import { omi } from '../../src/layouts/omi.js';
import { contents, fileOf, inputOf, KEEP, lora, type Spec, thereAndBack } from './kohya-helpers.js';

// Names of Open-Model-Initiative/OMI-Model-Standards@16e78ee convert/lora/convert_{sd,sdxl,sd3,flux,chroma}_lora.py.
describe('names', () => {
	it.each([
		['unet.input_blocks.0.0', 'unet', 'conv_in'],
		['unet.input_blocks.1.1.transformer_blocks.0.attn1.to_q', 'unet', 'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q'],
		['unet.input_blocks.9.0.op', 'unet', 'down_blocks.2.downsamplers.0.conv'],
		['unet.middle_block.2.out_layers.3', 'unet', 'mid_block.resnets.1.conv2'],
		['unet.output_blocks.11.1.transformer_blocks.0.ff.net.0.proj', 'unet', 'up_blocks.3.attentions.2.transformer_blocks.0.ff.net.0.proj'],
		['unet.output_blocks.2.1.conv', 'unet', 'up_blocks.0.upsamplers.0.conv'],
		['unet.label_emb.0.2', 'unet', 'add_embedding.linear_2'],
		['unet.time_embed.0', 'unet', 'time_embedding.linear_1'],
		['clip_l.text_model.encoder.layers.11.mlp.fc1', 'text_encoder', 'text_model.encoder.layers.11.mlp.fc1'],
		['clip_g.text_projection', 'text_encoder_2', 'text_projection'],
		['transformer.double_blocks.3.img_attn.qkv.0', 'transformer', 'transformer_blocks.3.attn.to_q'],
		['transformer.double_blocks.3.txt_attn.qkv.2', 'transformer', 'transformer_blocks.3.attn.add_v_proj'],
		['transformer.double_blocks.3.img_mod.lin', 'transformer', 'transformer_blocks.3.norm1.linear'],
		['transformer.single_blocks.37.linear1.3', 'transformer', 'single_transformer_blocks.37.proj_mlp'],
		['transformer.single_blocks.37.linear2', 'transformer', 'single_transformer_blocks.37.proj_out'],
		['transformer.img_in.proj', 'transformer', 'x_embedder'],
		['transformer.guidance_in.in_layer', 'transformer', 'time_text_embed.guidance_embedder.linear_1'],
		['transformer.joint_blocks.0.x_block.attn.qkv.1', 'transformer', 'transformer_blocks.0.attn.to_k'],
		['transformer.joint_blocks.0.context_block.mlp.fc2', 'transformer', 'transformer_blocks.0.ff_context.net.2'],
	])('%s', async (name, component, path) => {
		const file = await fileOf(lora(name, 8, 8, 2, 1));
		const claim = omi.claim(inputOf(file));
		expect([claim.names.size, claim.confidence]).toEqual([3, 1]);
		const adapter = omi.decode(inputOf(file), {});
		expect(adapter.modules.map((m) => [m.component, m.path, m.resolved])).toEqual([[component, path, true]]);
		const encoded = omi.encode?.(adapter, KEEP);
		expect(encoded?.losses).toEqual([]);
		expect(await contents(encoded?.files[0]?.tensors ?? new Map())).toEqual(await contents(file.tensors));
		expect(encoded?.files[0]?.metadata.size).toBe(0);
	});

	it.each([
		['unet.down_blocks.0.attentions.0.proj_in', 'diffusers names'],
		['transformer.double_blocks.0.img_attn.qkv', 'fused without a part number'],
		['transformer.transformer_blocks.0.attn.to_q', 'diffusers names'],
		['double_blocks.0.img_attn.proj', 'no prefix'],
	])('%s is none of its names (%s)', async (name) => {
		expect(omi.claim(inputOf(await fileOf(lora(name, 8, 8)))).names.size).toBe(0);
	});

	it('lora_A is none of its leaves', async () => {
		expect(omi.claim(inputOf(await fileOf({ 'unet.input_blocks.0.0.lora_A.weight': ['F32', [2, 4]] }))).names.size).toBe(0);
	});

	it.each([
		[
			'Flux',
			{ ...lora('transformer.double_blocks.0.img_mlp.0', 8, 8), ...lora('clip_l.text_model.encoder.layers.0.mlp.fc1', 8, 8) },
			'text_encoder_2',
		],
		[
			'SD3',
			{ ...lora('transformer.joint_blocks.0.x_block.mlp.fc1', 8, 8), ...lora('clip_g.text_model.encoder.layers.0.mlp.fc1', 8, 8) },
			'text_encoder_3',
		],
	])('t5 of %s', async (_, specs, component) => {
		const adapter = omi.decode(inputOf(await fileOf({ ...specs, ...lora('t5.encoder.block.0.layer.0.SelfAttention.k', 8, 8) })), {});
		expect(adapter.modules.map((m) => m.component)).toContain(component);
		expect(adapter.modules.find((m) => m.path.startsWith('encoder.'))?.component).toBe(component);
	});
});

describe('scale and shift changed round', () => {
	const up: Spec = ['F32', [4, 1], [1, 2, 3, 4]];

	it("Flux: the halves of the final layer's up factor, and back the same tensor", async () => {
		const name = 'transformer.final_layer.adaLN_modulation.1';
		const file = await fileOf({
			[`${name}.lora_down.weight`]: ['F32', [1, 2], [5, 6]],
			[`${name}.lora_up.weight`]: up,
			...lora('transformer.single_blocks.0.linear2', 8, 8),
		});
		const adapter = omi.decode(inputOf(file), {});
		const module = adapter.modules.find((m) => m.path === 'norm_out.linear');
		expect([...new Float32Array((await module?.factors.up?.read())?.slice().buffer ?? new ArrayBuffer(0))]).toEqual([3, 4, 1, 2]);
		expect(module?.factors.up?.derivation?.errorBound).toBe(0);
		const encoded = omi.encode?.(adapter, KEEP);
		expect(encoded?.files[0]?.tensors.get(`${name}.lora_up.weight`)).toBe(file.tensors.get(`${name}.lora_up.weight`));
	});

	it('SD3: only the last context block, which has two chunks', async () => {
		const specs = (rows: number): Record<string, Spec> => ({
			'transformer.joint_blocks.9.context_block.adaLN_modulation.1.lora_down.weight': ['F32', [1, 2], [5, 6]],
			'transformer.joint_blocks.9.context_block.adaLN_modulation.1.lora_up.weight': [
				'F32',
				[rows, 1],
				Array.from({ length: rows }, (_, i) => i),
			],
		});
		const read = async (rows: number): Promise<number[]> => {
			const [module] = omi.decode(inputOf(await fileOf(specs(rows))), {}).modules;
			return [...new Float32Array((await module?.factors.up?.read())?.slice().buffer ?? new ArrayBuffer(0))];
		};
		expect(await read(4)).toEqual([2, 3, 0, 1]);
		expect(await read(12)).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]);
	});
});

it('what OMI has no name for is a loss, not silence', async () => {
	const adapter = kohya.decode(inputOf(await fileOf(lora('lora_unet_odd_part', 8, 8, 2, 1))), {});
	expect(omi.encode?.(adapter, KEEP).losses.map((l) => l.what)).toEqual([
		'lora_unet_odd_part.lora_down.weight',
		'lora_unet_odd_part.lora_up.weight',
		'lora_unet_odd_part.alpha',
	]);
});

it('there and back through kohya, header entries and embeddings included', async () => {
	const file = await fileOf(
		{
			...lora('unet.input_blocks.4.1.transformer_blocks.1.attn2.to_k', 640, 2048, 2, 0.3, 'F16'),
			...lora('clip_l.text_model.encoder.layers.0.mlp.fc1', 3072, 768, 2, 1),
			...lora('clip_g.text_model.encoder.layers.0.mlp.fc1', 5120, 1280, 2, 1),
			'bundle_emb.cat.clip_l': ['F32', [2, 768]],
			'bundle_emb.cat.clip_l_out': ['F32', [2, 768]],
			'bundle_emb.cat.clip_g': ['F32', [2, 1280]],
		},
		{ ss_output_name: 'x', 'modelspec.title': 'é "q"' },
	);
	const back = await thereAndBack(file, omi, kohya);
	expect([...back.middle.tensors.keys()]).toContain('lora_unet_input_blocks_4_1_transformer_blocks_1_attn2_to_k.lora_down.weight');
	expect([...back.middle.tensors.keys()]).toContain('lora_te2_text_model_encoder_layers_0_mlp_fc1.alpha');
	expect(back.losses).toEqual([]);
	expect(back.tensors).toEqual(await contents(file.tensors));
	expect(back.metadata).toEqual({ 'modelspec.title': 'é "q"', ss_output_name: 'x' });
});
