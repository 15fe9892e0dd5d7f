import { describe, test } from 'vitest';
import { check, type Expected } from './check.js';
import { blocks, clip, hunyuanVideo, linear, type Mod, qwenImage, sd3Diffusers, sd3Sai, wan, wanDiffusers, zImage } from './inventories.js';
import { T5, TE1 } from './sets.js';
import { dottedState, kohyaState, State } from './state.js';

describe('SD3', () => {
	test('kohya: joint blocks with attn2, three text encoders', async () => {
		const sai = [
			...sd3Sai(),
			...blocks(13, [
				['joint_blocks.#.x_block.attn2.qkv', 4608, 1536],
				['joint_blocks.#.x_block.attn2.proj', 1536, 1536],
			]),
		];
		const state = kohyaState(new State(), sai, 'lora_unet');
		kohyaState(state, TE1, 'lora_te1');
		kohyaState(state, clip(32, 1280), 'lora_te2');
		kohyaState(state, T5, 'lora_te3');
		await check(state.input(), {
			layout: 'kohya',
			base: 'sd3',
			modules: { transformer: sai.length, text_encoder: 72, text_encoder_2: 192, text_encoder_3: 168 },
			scalings: [0.5],
			to: {
				diffusers: [
					'transformer.transformer_blocks.0.attn2.to_q.lora_A.weight',
					'transformer.transformer_blocks.23.norm1_context.linear.lora_B.weight',
					'text_encoder_3.encoder.block.0.layer.0.SelfAttention.k.lora_linear_layer.up.weight',
				],
			},
		});
	});
	test('diffusers', async () => {
		await check(dottedState(new State(), sd3Diffusers(), 'transformer.').input(), {
			layout: 'diffusers',
			base: 'sd3',
			modules: { transformer: 191 },
			to: {
				kohya: [
					'lora_unet_joint_blocks_0_x_block_attn_qkv.lora_down.weight',
					'lora_unet_joint_blocks_23_context_block_attn_qkv.lora_up.weight',
				],
			},
		});
	});
	test('OneTrainer: lora_transformer_', async () => {
		await check(kohyaState(new State(), sd3Diffusers(), 'lora_transformer').input(), {
			layout: 'kohya',
			base: 'sd3',
			modules: { transformer: 191 },
			scalings: [0.5],
			to: { diffusers: ['transformer.transformer_blocks.0.attn.to_q.lora_A.weight'] },
		});
	});
});

describe('video and image transformers with their own names', () => {
	const cases: readonly (readonly [name: string, base: string, mods: () => Mod[]])[] = [
		['Wan 14B', 'wan', () => wan()],
		['Wan 1.3B image to video', 'wan', () => wan(1536, 8960, 30, true)],
		['Qwen-Image', 'qwen-image', () => qwenImage()],
		['HunyuanVideo', 'hunyuan-video', () => hunyuanVideo()],
		['Z-Image fused', 'z-image', () => zImage(true)],
		['Z-Image split', 'z-image', () => zImage(false)],
		[
			'Lumina 2',
			'z-image',
			() =>
				zImage(true, 2304, 26).map((m) =>
					m.path.includes('adaLN')
						? linear(m.path.replace('.0', '.0').replace(/adaLN_modulation\.0$/, 'adaLN_modulation.1'), m.out, 1024)
						: m,
				),
		],
	];
	test.each(cases)('%s: kohya (musubi-tuner)', async (_, base, mods) => {
		await check(kohyaState(new State(), mods(), 'lora_unet').input(), {
			layout: 'kohya',
			base,
			modules: { transformer: mods().length },
			scalings: [0.5],
			to: { 'native-dotted': [] },
		});
	});
	test.each(cases)('%s: dotted behind diffusion_model.', async (_, base, mods) => {
		await check(dottedState(new State(), mods(), 'diffusion_model.').input(), {
			layout: 'native-dotted',
			base,
			modules: { transformer: mods().length },
			to: { kohya: [] },
		});
	});
	test('Wan-Fun: two underscores', async () => {
		const state = kohyaState(new State(), wan(), 'lora_unet_');
		await check(state.input(), {
			layout: 'kohya',
			base: 'wan',
			modules: { transformer: 400 },
			scalings: [0.5],
			to: { 'native-dotted': ['diffusion_model.blocks.0.self_attn.q.lora_A.weight'] },
		});
	});
	test('Wan: diff, diff_b, diff_m and norms', async () => {
		const state = dottedState(new State(), wan(), 'diffusion_model.', ['.lora_down.weight', '.lora_up.weight']);
		for (const m of wan()) state.put(`diffusion_model.${m.path}.diff_b`, [m.out]);
		for (let n = 0; n < 40; n++) {
			for (const q of ['self_attn.norm_q', 'self_attn.norm_k', 'cross_attn.norm_q', 'cross_attn.norm_k', 'norm3'])
				state.put(`diffusion_model.blocks.${n}.${q}.diff`, [5120]);
			state.put(`diffusion_model.blocks.${n}.norm3.diff_b`, [5120]);
			state.put(`diffusion_model.blocks.${n}.diff_m`, [1, 6, 5120]);
		}
		state.put('diffusion_model.head.diff_m', [1, 2, 5120]);
		state
			.pair('diffusion_model.head.head', linear('', 64, 5120), 4)
			.put('diffusion_model.patch_embedding.diff', [5120, 16, 1, 2, 2])
			.put('diffusion_model.patch_embedding.diff_b', [5120]);
		await check(state.input(), {
			layout: 'native-dotted',
			base: 'wan',
			modules: { transformer: 400 + 40 * 6 + 1 + 1 + 1 },
			families: ['full', 'lora'],
			to: { kohya: ['lora_unet_blocks_0_self_attn_q.diff_b'] },
		});
	});
	test('Wan 2.2 in diffusers: transformer. and transformer_2.', async () => {
		const state = dottedState(new State(), wanDiffusers(), 'transformer.');
		dottedState(state, wanDiffusers(), 'transformer_2.');
		await check(state.input(), {
			layout: 'diffusers',
			base: 'wan',
			modules: { transformer: 400, transformer_2: 400 },
			to: { kohya: /E_/ },
		});
	});
	test('Wan in diffusers names', async () => {
		await check(dottedState(new State(), wanDiffusers(), 'transformer.').input(), {
			layout: 'diffusers',
			base: 'wan',
			modules: { transformer: 400 },
			to: { kohya: [] },
		});
	});
	test('Qwen-Image: raw state dict with .default.', async () => {
		await check(dottedState(new State(), qwenImage(), '', ['.lora_A.default.weight', '.lora_B.default.weight']).input(), {
			layout: 'peft',
			base: 'qwen-image',
			modules: { transformer: 840 },
			to: { diffusers: ['transformer.transformer_blocks.0.img_mod.1.lora_A.weight'] },
		});
	});
	const plain = (): Mod[] =>
		blocks(28, [
			...['attn1', 'attn2'].flatMap((a) =>
				['to_q', 'to_k', 'to_v', 'to_out.0'].map((l): [string, number, number] => [`transformer_blocks.#.${a}.${l}`, 2048, 2048]),
			),
			['transformer_blocks.#.ff.net.0.proj', 8192, 2048],
			['transformer_blocks.#.ff.net.2', 2048, 8192],
		]);
	test('LTX', async () => {
		await check(dottedState(new State(), plain(), 'diffusion_model.').input(), {
			layout: 'native-dotted',
			base: 'dit',
			modules: { transformer: 280 },
			to: { kohya: [] },
		});
		await check(dottedState(new State(), plain(), 'transformer.').input(), {
			layout: 'diffusers',
			base: 'dit',
			modules: { transformer: 280 },
			to: { kohya: [] },
		});
	});
	test('HiDream', async () => {
		const mods = blocks(16, [
			...['to_q', 'to_k', 'to_v', 'to_out', 'to_q_t', 'to_k_t', 'to_v_t', 'to_out_t'].map((l): [string, number, number] => [
				`double_stream_blocks.#.block.attn1.${l}`,
				2560,
				2560,
			]),
			['double_stream_blocks.#.block.ff_i.shared_experts.w1', 3584, 2560],
			['double_stream_blocks.#.block.ff_i.experts.3.w2', 2560, 6912],
			['double_stream_blocks.#.block.adaLN_modulation.1', 12 * 2560, 2560],
		]);
		for (const [state, layout, scaling] of [
			[dottedState(new State(), mods, 'diffusion_model.'), 'native-dotted', 1],
			[dottedState(new State(), mods, 'transformer.'), 'diffusers', 1],
			[kohyaState(new State(), mods, 'lora_unet'), 'kohya', 0.5],
		] as const)
			await check(state.input(), { layout, base: 'hidream', modules: { transformer: mods.length }, scalings: [scaling] });
	});
	test('Mochi: leaves without .weight', async () => {
		const mods = blocks(48, [
			...['to_q', 'to_k', 'to_v', 'to_out.0', 'add_q_proj', 'add_k_proj', 'add_v_proj', 'to_add_out'].map((l): [string, number, number] => [
				`transformer_blocks.#.attn1.${l}`,
				3072,
				3072,
			]),
		]);
		await check(dottedState(new State(), mods, 'transformer_blocks.'.slice(0, 0), ['.lora_A', '.lora_B']).input(), {
			layout: 'native-dotted',
			base: 'mochi',
			modules: { transformer: mods.length },
			confidence: 0.5,
			to: { diffusers: ['transformer.transformer_blocks.0.attn1.to_q.lora_A.weight'] },
		});
	});
	test('Stable Cascade prior', async () => {
		const mods = blocks(8, [
			['down_blocks.0.#.attention.attn.to_q', 1536, 1536],
			['down_blocks.0.#.attention.attn.to_k', 1536, 1536],
		]);
		const state = kohyaState(new State(), mods, 'lora_prior_unet');
		kohyaState(state, clip(32, 1280), 'lora_prior_te');
		const expected: Expected = {
			layout: 'kohya',
			base: 'stable-cascade',
			confidence: 0.5,
			modules: { prior: mods.length, text_encoder: 192 },
			scalings: [0.5],
			unresolved: mods.length,
			to: { diffusers: /E_/ },
		};
		await check(state.input(), expected);
	});
});
