import { describe, expect, it } from 'vitest';
import { bflControl } from '../../src/layouts/bfl-control.js';
import { kohya } from '../../src/layouts/kohya.js';
import type { Layout } from '../../src/layouts/layout.js';
import { lycorisStandalone } from '../../src/layouts/lycoris-standalone.js';
import { nativeDotted } from '../../src/layouts/native-dotted.js';
import { xlabsFlux } from '../../src/layouts/xlabs-flux.js';
import { contents, fileOf, inputOf, KEEP, lora, peftLora, type Spec, thereAndBack } from './kohya-helpers.js';

async function roundTrip(layout: Layout, specs: Readonly<Record<string, Spec>>) {
	const file = await fileOf(specs);
	const adapter = layout.decode(inputOf(file), {});
	const encoded = layout.encode?.(adapter, KEEP);
	expect(encoded?.losses).toEqual([]);
	expect(await contents(encoded?.files[0]?.tensors ?? new Map())).toEqual(await contents(file.tensors));
	expect(layout.claim(inputOf(file)).names.size).toBe(file.tensors.size);
	return adapter;
}

describe('native-dotted', () => {
	it.each<[string, Record<string, Spec>, string, string, string]>([
		[
			'Flux BFL-PEFT',
			peftLora('diffusion_model.double_blocks.0.img_attn.qkv', 24, 8),
			'transformer',
			'double_blocks.0.img_attn.qkv',
			'bfl',
		],
		['Wan', peftLora('diffusion_model.blocks.0.self_attn.q', 8, 8), 'transformer', 'blocks.0.self_attn.q', 'native'],
		[
			'Wan with kohya leaves',
			lora('diffusion_model.blocks.0.cross_attn.k_img', 8, 8, 2, 1),
			'transformer',
			'blocks.0.cross_attn.k_img',
			'native',
		],
		[
			'HunyuanVideo',
			peftLora('diffusion_model.double_blocks.0.img_attn_qkv', 24, 8),
			'transformer',
			'double_blocks.0.img_attn_qkv',
			'native',
		],
		['Z-Image', peftLora('diffusion_model.layers.0.attention.to_q', 8, 8), 'transformer', 'layers.0.attention.to_q', 'native'],
		[
			'Qwen-Image',
			lora('diffusion_model.transformer_blocks.0.img_mlp.net.0.proj', 8, 8, 2, 2),
			'transformer',
			'transformer_blocks.0.img_mlp.net.0.proj',
			'native',
		],
		['a model without a table', peftLora('diffusion_model.some.new.part', 8, 8), 'transformer', 'some.new.part', 'native'],
		[
			"SDXL UNet in ComfyUI's names",
			peftLora('diffusion_model.input_blocks.4.1.proj_in', 8, 8),
			'unet',
			'down_blocks.1.attentions.0.proj_in',
			'diffusers',
		],
		[
			'OneTrainer hybrid',
			lora('transformer.transformer_blocks.0.attn.to_q', 8, 8, 2, 1),
			'transformer',
			'transformer_blocks.0.attn.to_q',
			'diffusers',
		],
		[
			'ai-toolkit LoKr',
			{
				'transformer.transformer_blocks.0.attn.to_q.lokr_w1': ['F32', [4, 4]],
				'transformer.transformer_blocks.0.attn.to_q.lokr_w2': ['F32', [2, 2]],
			},
			'transformer',
			'transformer_blocks.0.attn.to_q',
			'diffusers',
		],
		[
			'ai-toolkit DoRA',
			{
				...peftLora('transformer.single_transformer_blocks.0.attn.to_q', 8, 8),
				'transformer.single_transformer_blocks.0.attn.to_q.magnitude': ['F32', [8]],
			},
			'transformer',
			'single_transformer_blocks.0.attn.to_q',
			'diffusers',
		],
		['no prefix', peftLora('double_blocks.0.img_attn.proj', 8, 8), 'transformer', 'double_blocks.0.img_attn.proj', 'bfl'],
		[
			'full differences of Wan',
			{ 'diffusion_model.blocks.0.norm3.diff': ['F32', [8]], 'diffusion_model.blocks.0.norm3.diff_b': ['F32', [8]] },
			'transformer',
			'blocks.0.norm3',
			'native',
		],
		[
			'a text encoder',
			{ ...lora('transformer.transformer_blocks.0.attn.to_q', 8, 8), ...lora('text_encoder.text_model.encoder.layers.0.mlp.fc1', 8, 8) },
			'text_encoder',
			'text_model.encoder.layers.0.mlp.fc1',
			'diffusers',
		],
	])('%s', async (_, specs, component, path, naming) => {
		const adapter = await roundTrip(nativeDotted, specs);
		expect(adapter.naming).toBe(naming);
		expect(adapter.modules.map((m) => `${m.component} ${m.path}`)).toContain(`${component} ${path}`);
		expect(adapter.modules.every((m) => m.resolved)).toBe(true);
		const back = await thereAndBack(await fileOf(specs), nativeDotted, kohya);
		expect(back.losses).toEqual([]);
		expect(back.tensors).toEqual(await contents((await fileOf(specs)).tensors));
		expect(back.metadata).toEqual({});
	});

	it("ai-toolkit's magnitude is per output row", async () => {
		const specs: Record<string, Spec> = {
			...peftLora('transformer.transformer_blocks.0.attn.to_q', 8, 6),
			'transformer.transformer_blocks.0.attn.to_q.magnitude': ['F32', [8]],
		};
		expect(nativeDotted.decode(inputOf(await fileOf(specs)), {}).modules[0]?.magnitudeAxis).toBe('out');
	});

	it("is less sure than diffusers of diffusers' own names", async () => {
		expect(nativeDotted.claim(inputOf(await fileOf(peftLora('transformer.transformer_blocks.0.attn.to_q', 8, 8)))).confidence).toBeLessThan(
			0.5,
		);
		expect(nativeDotted.claim(inputOf(await fileOf(peftLora('diffusion_model.blocks.0.ffn.0', 8, 8)))).confidence).toBe(1);
		expect(nativeDotted.claim(inputOf(await fileOf(peftLora('base_model.model.double_blocks.0.img_attn.qkv', 8, 8)))).names.size).toBe(0);
		expect(nativeDotted.claim(inputOf(await fileOf(peftLora('some.bare.name', 8, 8)))).names.size).toBe(0);
	});
});

describe('lycoris-standalone', () => {
	it.each<[string, string, string]>([
		['lycoris_transformer_blocks_7_attn_to_v', 'transformer', 'transformer_blocks.7.attn.to_v'],
		[
			'lycoris_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q',
			'unet',
			'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q',
		],
		['lycoris_text_model_encoder_layers_0_mlp_fc1', 'text_encoder', 'text_model.encoder.layers.0.mlp.fc1'],
	])('%s', async (name, component, path) => {
		const adapter = await roundTrip(lycorisStandalone, {
			[`${name}.lokr_w1`]: ['F32', [4, 4]],
			[`${name}.lokr_w2_a`]: ['F32', [2, 1]],
			[`${name}.lokr_w2_b`]: ['F32', [1, 2]],
			[`${name}.alpha`]: ['F32', [], [1]],
		});
		expect(adapter.modules.map((m) => [m.component, m.path, m.resolved])).toEqual([[component, path, true]]);
		expect(adapter.metadata.size).toBe(0);
	});
});

describe('xlabs-flux', () => {
	const pair = (name: string, out: number, inn: number): Record<string, Spec> => ({
		[`${name}.down.weight`]: ['BF16', [2, inn]],
		[`${name}.up.weight`]: ['BF16', [out, 2]],
	});
	it.each([
		['double_blocks.0.processor.qkv_lora1', 'double_blocks.0.img_attn.qkv'],
		['double_blocks.18.processor.qkv_lora2', 'double_blocks.18.txt_attn.qkv'],
		['double_blocks.0.processor.proj_lora1', 'double_blocks.0.img_attn.proj'],
		['double_blocks.0.processor.proj_lora2', 'double_blocks.0.txt_attn.proj'],
		['single_blocks.37.processor.qkv_lora', 'single_blocks.37.linear1_qkv'],
		['single_blocks.0.processor.proj_lora', 'single_blocks.0.linear2'],
	])('%s', async (name, path) => {
		const adapter = await roundTrip(xlabsFlux, pair(name, 8, 8));
		expect(adapter.modules.map((m) => [m.component, m.path, m.scaling])).toEqual([['transformer', path, 1]]);
		expect(adapter.naming).toBe('bfl');
		expect(kohya.claim(inputOf(await fileOf(pair(name, 8, 8)))).names.size).toBe(0);
		expect(nativeDotted.claim(inputOf(await fileOf(pair(name, 8, 8)))).names.size).toBe(0);
	});

	it('names it does not have are unknown; alpha and other modules are losses', async () => {
		const file = await fileOf({
			...pair('double_blocks.0.processor.qkv_lora1', 8, 8),
			...pair('double_blocks.0.processor.qkv_lora', 8, 8),
		});
		expect([...xlabsFlux.decode(inputOf(file), {}).unknown.keys()]).toEqual([
			'double_blocks.0.processor.qkv_lora.down.weight',
			'double_blocks.0.processor.qkv_lora.up.weight',
		]);
		const scaled = kohya.decode(
			inputOf(
				await fileOf({
					...lora('lora_unet_double_blocks_0_img_attn_qkv', 24, 8, 2, 1),
					...lora('lora_unet_double_blocks_0_img_mlp_0', 8, 8, 2, 2),
				}),
			),
			{},
		);
		const losses = xlabsFlux.encode?.(scaled, KEEP).losses ?? [];
		expect(losses.map((l) => l.what.replace(/.*_(img_\w+)\./, '$1 '))).toEqual([
			'img_attn_qkv lora_down.weight',
			'img_attn_qkv lora_up.weight',
			'img_attn_qkv alpha',
			'img_mlp_0 lora_down.weight',
			'img_mlp_0 lora_up.weight',
			'img_mlp_0 alpha',
		]);
		expect(losses[0]?.why).toContain('--alpha fold');
	});
});

describe('bfl-control', () => {
	const specs: Record<string, Spec> = {
		...peftLora('img_in', 8, 128),
		'img_in.lora_B.bias': ['F32', [8]],
		...peftLora('double_blocks.0.img_attn.qkv', 24, 8),
		'double_blocks.0.img_attn.qkv.lora_B.bias': ['F32', [24]],
		'double_blocks.0.img_attn.norm.query_norm.scale': ['F32', [128]],
		'single_blocks.0.norm.key_norm.scale': ['F32', [128]],
	};

	it('reads and writes biases and whole norm scales', async () => {
		const adapter = await roundTrip(bflControl, specs);
		expect(adapter.modules.map((m) => [m.path, m.family, Object.keys(m.factors)])).toEqual([
			['img_in', 'lora', ['down', 'up', 'up_bias']],
			['double_blocks.0.img_attn.qkv', 'lora', ['down', 'up', 'up_bias']],
			['double_blocks.0.img_attn.norm.query_norm', 'whole', ['set_weight']],
			['single_blocks.0.norm.key_norm', 'whole', ['set_weight']],
		]);
		expect(bflControl.claim(inputOf(await fileOf(specs))).names.size).toBeGreaterThan(
			nativeDotted.claim(inputOf(await fileOf(specs))).names.size - 1,
		);
	});

	it('an ordinary bare LoRA is not a control LoRA', async () => {
		expect(bflControl.claim(inputOf(await fileOf(peftLora('double_blocks.0.img_attn.qkv', 24, 8)))).names.size).toBe(0);
	});

	it("kohya's readers do not load its biases", async () => {
		const losses = kohya.encode?.(bflControl.decode(inputOf(await fileOf(specs)), {}), KEEP).losses ?? [];
		expect(losses.map((l) => l.what)).toEqual(['img_in.lora_B.bias', 'double_blocks.0.img_attn.qkv.lora_B.bias']);
	});
});
