import { describe, test } from 'vitest';
import { check } from './check.js';
import { blocks, fluxBfl, fluxDiffusers, fluxOuter, linear, type Mod } from './inventories.js';
import { T5, TE1 } from './sets.js';
import { dottedState, flat, kohyaState, LINEAR_LEAVES, PEFT_LEAVES, State } from './state.js';

describe('Flux.1', () => {
	test('kohya: blocks, outer modules, CLIP as te1, T5 as te3', async () => {
		const state = kohyaState(new State('BF16'), [...fluxBfl(), ...fluxOuter()], 'lora_unet');
		kohyaState(state, TE1, 'lora_te1');
		kohyaState(state, T5, 'lora_te3');
		await check(state.input({ ss_network_module: 'networks.lora_flux', ss_base_model_version: 'flux1' }), {
			layout: 'kohya',
			base: 'flux',
			confidence: 0.9,
			modules: { transformer: 314, text_encoder: 72, text_encoder_2: 168 },
			scalings: [0.5],
			to: {
				diffusers: [
					'transformer.transformer_blocks.18.attn.add_q_proj.lora_A.weight',
					'transformer.single_transformer_blocks.37.proj_mlp.lora_B.weight',
					'transformer.norm_out.linear.lora_B.weight',
					'transformer.time_text_embed.guidance_embedder.linear_2.lora_A.weight',
					'text_encoder_2.encoder.block.23.layer.1.DenseReluDense.wo.lora_linear_layer.down.weight',
				],
				'native-dotted': ['diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight'],
				omi: ['transformer.double_blocks.0.img_attn.qkv.0.lora_down.weight', 't5.encoder.block.0.layer.0.SelfAttention.q.lora_up.weight'],
			},
		});
	});
	test('T5 as te2 (OneTrainer, InvokeAI)', async () => {
		const state = kohyaState(new State(), fluxBfl(), 'lora_unet');
		kohyaState(state, T5, 'lora_te2');
		await check(state.input(), {
			layout: 'kohya',
			base: 'flux',
			modules: { transformer: 304, text_encoder_2: 168 },
			scalings: [0.5],
			to: { diffusers: [] },
		});
	});
	test('split_qkv: alpha of one part over the rank of three', async () => {
		const state = new State();
		for (const m of fluxBfl()) {
			const n = `lora_unet_${flat(m.path)}`;
			const times = m.path.endsWith('qkv') ? 3 : m.path.endsWith('linear1') ? 4 : 1;
			state.pair(n, m, 4 * times).value(`${n}.alpha`, 4);
		}
		await check(state.input({ ss_network_args: '{"split_qkv": "True"}' }), {
			layout: 'kohya',
			base: 'flux',
			modules: { transformer: 304 },
			ranks: [4, 12, 16],
			scalings: [0.25, 1 / 3, 1],
			to: { diffusers: ['transformer.transformer_blocks.0.attn.to_v.lora_B.weight'] },
		});
	});
	test('OneTrainer: lora_transformer_ with diffusers names', async () => {
		const state = kohyaState(new State(), fluxDiffusers(), 'lora_transformer');
		kohyaState(state, TE1, 'lora_te1');
		await check(state.input(), {
			layout: 'kohya',
			base: 'flux',
			modules: { transformer: fluxDiffusers().length, text_encoder: 72 },
			scalings: [0.5],
			to: {
				diffusers: ['transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight'],
				omi: ['transformer.single_blocks.0.linear1.3.lora_down.weight'],
			},
		});
	});
	test.each([
		['diffusers', PEFT_LEAVES, 'diffusers'],
		['OneTrainer hybrid', ['.lora_down.weight', '.lora_up.weight'] as const, 'native-dotted'],
	] as const)('%s dotted', async (_, leaves, layout) => {
		const state = dottedState(new State(), fluxDiffusers(), 'transformer.', leaves);
		if (layout === 'native-dotted') for (const m of fluxDiffusers()) state.value(`transformer.${m.path}.alpha`, 2);
		await check(state.input(), {
			layout,
			base: 'flux',
			modules: { transformer: fluxDiffusers().length },
			scalings: [layout === 'diffusers' ? 1 : 0.5],
			to: { kohya: ['lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight', 'lora_unet_single_blocks_37_linear1.alpha'] },
		});
	});
	test('diffusers with its text encoder', async () => {
		const state = dottedState(new State(), fluxDiffusers(), 'transformer.');
		dottedState(state, TE1, 'text_encoder.', LINEAR_LEAVES);
		await check(state.input(), {
			layout: 'diffusers',
			base: 'flux',
			modules: { transformer: fluxDiffusers().length, text_encoder: 72 },
			to: { kohya: ['lora_te1_text_model_encoder_layers_0_mlp_fc1.lora_down.weight'] },
		});
	});
	test('ai-toolkit: DoRA as .magnitude', async () => {
		const state = new State();
		for (const m of fluxDiffusers()) state.pair(`transformer.${m.path}`, m, 4, PEFT_LEAVES).put(`transformer.${m.path}.magnitude`, [m.out]);
		await check(state.input(), {
			layout: 'native-dotted',
			base: 'flux',
			modules: { transformer: fluxDiffusers().length },
			to: { diffusers: ['transformer.transformer_blocks.0.attn.to_q.lora_magnitude_vector'] },
		});
	});
	test('ai-toolkit: fullrank is a whole difference under lora_A', async () => {
		const state = new State();
		const mods = fluxDiffusers();
		for (const m of mods) state.put(`transformer.${m.path}.lora_A.weight`, [m.out, m.in]);
		await check(state.input(), {
			layout: 'native-dotted',
			base: 'flux',
			modules: { transformer: fluxDiffusers().length },
			families: ['full'],
			ranks: [],
			to: { kohya: ['lora_unet_double_blocks_0_img_attn_qkv.diff'], diffusers: /E_UNSUPPORTED_ADAPTER/ },
		});
	});
	test.each([
		['transformer.', 'native-dotted'],
		['lycoris_', 'lycoris-standalone'],
	] as const)('ai-toolkit: LoKr behind %s', async (prefix, layout) => {
		const state = new State();
		for (const m of fluxDiffusers()) {
			const n = prefix === 'lycoris_' ? `lycoris_${flat(m.path)}` : prefix + m.path;
			state
				.put(`${n}.lokr_w1`, [16, 16])
				.put(`${n}.lokr_w2`, [m.out / 16, m.in / 16])
				.value(`${n}.alpha`, 16);
		}
		await check(state.input(), {
			layout,
			base: 'flux',
			confidence: 0.6,
			modules: { transformer: fluxDiffusers().length },
			families: ['lokr'],
			ranks: [],
			to: {},
		});
	});
	test.each([
		['diffusion_model.', 'native-dotted'],
		['base_model.model.', 'peft'],
		['', 'native-dotted'],
	] as const)('BFL names behind "%s"', async (prefix, layout) => {
		await check(dottedState(new State(), fluxBfl(), prefix).input(), {
			layout,
			base: 'flux',
			modules: { transformer: 304 },
			to: {
				kohya: ['lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight'],
				diffusers: ['transformer.transformer_blocks.0.attn.to_q.lora_A.weight'],
			},
		});
	});
	test('XLabs, double blocks', async () => {
		const state = new State();
		for (let n = 0; n < 19; n++)
			for (const s of [1, 2]) {
				state.pair(`double_blocks.${n}.processor.qkv_lora${s}`, linear('', 9216, 3072), 16, ['.down.weight', '.up.weight']);
				state.pair(`double_blocks.${n}.processor.proj_lora${s}`, linear('', 3072, 3072), 16, ['.down.weight', '.up.weight']);
			}
		await check(state.input(), {
			layout: 'xlabs-flux',
			base: 'flux',
			modules: { transformer: 76 },
			ranks: [16],
			to: {
				kohya: ['lora_unet_double_blocks_0_txt_attn_proj.lora_up.weight'],
				diffusers: ['transformer.transformer_blocks.0.attn.add_v_proj.lora_B.weight'],
			},
		});
	});
	test('USO: with single blocks', async () => {
		const state = new State();
		for (let n = 0; n < 38; n++) {
			state.pair(`single_blocks.${n}.processor.qkv_lora`, linear('', 9216, 3072), 128, ['.down.weight', '.up.weight']);
			state.pair(`single_blocks.${n}.processor.proj_lora`, linear('', 3072, 15360), 128, ['.down.weight', '.up.weight']);
		}
		await check(state.input(), {
			layout: 'xlabs-flux',
			base: 'flux',
			modules: { transformer: 76 },
			ranks: [128],
			to: {
				diffusers: [
					'transformer.single_transformer_blocks.0.attn.to_q.lora_A.weight',
					'transformer.single_transformer_blocks.0.proj_out.lora_B.weight',
				],
				kohya: ['lora_unet_single_blocks_0_linear2.lora_up.weight', 'lora_unet_single_blocks_0_linear1.lora_up.weight'],
			},
		});
	});
	test('BFL control LoRA', async () => {
		const state = new State();
		for (const m of [...fluxBfl(), ...fluxOuter()])
			state.pair(m.path, m.path === 'img_in' ? { ...m, in: 128 } : m, 4, PEFT_LEAVES).put(`${m.path}.lora_B.bias`, [m.out]);
		for (let n = 0; n < 19; n++)
			for (const s of ['img', 'txt'])
				for (const q of ['query', 'key']) state.put(`double_blocks.${n}.${s}_attn.norm.${q}_norm.scale`, [128]);
		for (let n = 0; n < 38; n++) for (const q of ['query', 'key']) state.put(`single_blocks.${n}.norm.${q}_norm.scale`, [128]);
		await check(state.input(), {
			layout: 'bfl-control',
			base: 'flux',
			modules: { transformer: 314 + 76 + 76 },
			families: ['lora', 'whole'],
			to: { kohya: /E_UNSUPPORTED_ADAPTER/ },
		});
	});
	test('TheLastBen: single_transformer_blocks with alphas that are floats', async () => {
		const mods = fluxDiffusers().filter((m) => /^single_transformer_blocks\.(7|20)\.proj_out$/.test(m.path));
		const state = new State('BF16');
		for (const m of mods) state.pair(`transformer.${m.path}`, m, 16, PEFT_LEAVES).value(`transformer.${m.path}.alpha`, 16, 'F32');
		await check(state.input(), {
			layout: 'diffusers',
			base: 'flux',
			modules: { transformer: 2 },
			ranks: [16],
			to: { kohya: ['lora_unet_single_blocks_7_linear2.lora_down.weight'] },
		});
	});
});

describe('relatives of Flux', () => {
	const chroma = (): Mod[] => [
		...fluxBfl().filter((m) => !/_mod\.|modulation/.test(m.path)),
		...blocks(5, [
			['distilled_guidance_layer.layers.#.in_layer', 5120, 5120],
			['distilled_guidance_layer.layers.#.out_layer', 5120, 5120],
		]),
	];
	test('Chroma: kohya and native', async () => {
		const expected = { base: 'chroma', modules: { transformer: chroma().length } };
		await check(kohyaState(new State(), chroma(), 'lora_unet').input(), {
			...expected,
			layout: 'kohya',
			scalings: [0.5],
			to: { diffusers: ['transformer.distilled_guidance_layer.layers.0.linear_1.lora_A.weight'] },
		});
		await check(dottedState(new State(), chroma(), 'diffusion_model.').input(), {
			...expected,
			layout: 'native-dotted',
			to: { kohya: ['lora_unet_distilled_guidance_layer_layers_0_in_layer.lora_up.weight'] },
		});
	});
	test('Flux.2 in diffusers names and in BFL names', async () => {
		const h = 6144;
		const diffusersMods = [
			...blocks(8, [
				...['to_q', 'to_k', 'to_v', 'to_out.0', 'add_q_proj', 'add_k_proj', 'add_v_proj', 'to_add_out'].map(
					(l): [string, number, number] => [`transformer_blocks.#.attn.${l}`, h, h],
				),
				['transformer_blocks.#.ff.linear_in', 6 * h, h],
				['transformer_blocks.#.ff.linear_out', h, 3 * h],
				['transformer_blocks.#.ff_context.linear_in', 6 * h, h],
				['transformer_blocks.#.ff_context.linear_out', h, 3 * h],
			]),
			...blocks(48, [
				['single_transformer_blocks.#.attn.to_qkv_mlp_proj', 9 * h, h],
				['single_transformer_blocks.#.attn.to_out', h, 4 * h],
			]),
			linear('double_stream_modulation_img.linear', 6 * h, h),
		];
		await check(dottedState(new State(), diffusersMods, 'transformer.').input(), {
			layout: 'diffusers',
			base: 'flux2',
			modules: { transformer: diffusersMods.length },
			to: { kohya: ['lora_transformer_single_transformer_blocks_47_attn_to_qkv_mlp_proj.lora_down.weight'] },
		});
		const own = [
			...blocks(
				8,
				['img', 'txt'].flatMap((s): [string, number, number][] => [
					[`double_blocks.#.${s}_attn.qkv`, 3 * h, h],
					[`double_blocks.#.${s}_attn.proj`, h, h],
					[`double_blocks.#.${s}_mlp.0`, 6 * h, h],
					[`double_blocks.#.${s}_mlp.2`, h, 3 * h],
				]),
			),
			...blocks(48, [
				['single_blocks.#.linear1', 9 * h, h],
				['single_blocks.#.linear2', h, 4 * h],
			]),
			linear('double_stream_modulation_img.lin', 6 * h, h),
			linear('single_stream_modulation.lin', 3 * h, h),
		];
		await check(dottedState(new State(), own, 'diffusion_model.').input(), {
			layout: 'native-dotted',
			base: 'flux2',
			modules: { transformer: own.length },
			to: { kohya: ['lora_unet_single_blocks_47_linear1.lora_down.weight'] },
		});
		await check(kohyaState(new State(), own, 'lora_unet').input(), {
			layout: 'kohya',
			base: 'flux2',
			modules: { transformer: own.length },
			scalings: [0.5],
			to: { 'native-dotted': ['diffusion_model.single_blocks.47.linear1.lora_A.weight'] },
		});
		// Without the modulations only the width tells it from Flux.1.
		const plain = own.filter((m) => !m.path.includes('modulation'));
		await check(dottedState(new State(), plain, 'diffusion_model.').input(), {
			layout: 'native-dotted',
			base: 'flux2',
			modules: { transformer: plain.length },
		});
	});
});

describe('OneTrainer, BFL names with numbered parts', () => {
	test('transformer.double_blocks.0.img_attn.qkv.0, linear1.3', async () => {
		const state = new State();
		for (const m of fluxBfl()) {
			const parts = m.path.endsWith('qkv') ? 3 : m.path.endsWith('linear1') ? 4 : 1;
			for (let n = 0; n < parts; n++) {
				const out = parts === 1 ? m.out : n === 3 ? 12288 : 3072;
				const name = `transformer.${m.path}${parts === 1 ? '' : `.${n}`}`;
				state.pair(name, { ...m, out }, 4).value(`${name}.alpha`, 2);
			}
		}
		await check(state.input(), {
			layout: 'omi',
			base: 'flux',
			modules: { transformer: fluxDiffusers().length },
			scalings: [0.5],
			to: {
				diffusers: [
					'transformer.transformer_blocks.0.attn.to_v.lora_A.weight',
					'transformer.single_transformer_blocks.37.proj_mlp.lora_B.weight',
				],
				kohya: ['lora_unet_double_blocks_0_img_attn_qkv.lora_down.weight'],
			},
		});
	});
});
