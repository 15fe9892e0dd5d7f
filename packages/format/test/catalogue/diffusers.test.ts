import { describe, test } from 'vitest';
import { check } from './check.js';
import { type Mod, unet } from './inventories.js';
import { BASES, type Base, inGroups, Q, TE_SD2, TE1, TE2, transformer } from './sets.js';
import { dottedState, kohyaState, LINEAR_LEAVES, LORA_LEAVES, PEFT_LEAVES, State } from './state.js';

const PROCESSOR = ['_lora.down.weight', '_lora.up.weight'] as const;
const processorName = (path: string): string => path.replace(/\.(to_[qkv]|to_out)(\.0)?$/, '.processor.$1');

describe('diffusers before PEFT', () => {
	test.each(BASES)('0.12 to 0.16, %s', async (base) => {
		const mods = inGroups(unet(base), 'attn');
		const state = new State('F32');
		for (const m of mods) state.pair(processorName(m.path), m, 4, PROCESSOR);
		await check(state.input(), {
			layout: 'diffusers-attn-procs',
			base,
			modules: { unet: base === 'sdxl' ? 560 : 128 },
			to: {
				diffusers: [`unet.${Q}.lora.down.weight`],
				kohya: [
					base === 'sdxl'
						? 'lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_out_0.alpha'
						: 'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0.alpha',
				],
				cloneofsimo: ['unet:0:up'],
			},
		});
	});

	describe.each(['a', 'b', 'c', 'd'] as const)('0.17 to 0.19, text encoder (%s)', (variant) => {
		test('SD1', async () => {
			const state = new State('F32');
			for (const m of inGroups(unet('sd1'), 'attn')) state.pair(`unet.${processorName(m.path)}`, m, 4, PROCESSOR);
			const which = { q_proj: 'to_q', k_proj: 'to_k', v_proj: 'to_v', out_proj: 'to_out' } as const;
			let modules = 48;
			for (const m of inGroups(TE1, 'attn')) {
				const leaf = m.path.slice(m.path.lastIndexOf('.') + 1) as keyof typeof which;
				const parent = m.path.slice(0, m.path.lastIndexOf('.'));
				if (variant === 'a') for (const w of Object.values(which)) state.pair(`text_encoder.${m.path}.${w}`, m, 4, PROCESSOR);
				else if (variant === 'b') state.pair(`text_encoder.${parent}.${which[leaf]}`, m, 4, PROCESSOR);
				else state.pair(`text_encoder.${m.path}`, m, 4, LINEAR_LEAVES);
			}
			if (variant === 'd') {
				for (const m of inGroups(TE1, 'mlp')) state.pair(`text_encoder.${m.path}`, m, 4, LINEAR_LEAVES);
				state.pair('text_encoder.text_projection', { ...(TE1[0] as Mod), out: 768, in: 768 }, 4, LORA_LEAVES);
				modules = 73;
			}
			await check(state.input(), {
				layout: 'diffusers-old-prefixed',
				base: 'sd1',
				modules: { unet: 128, text_encoder: modules },
				dead: variant === 'a' ? 48 * 3 * 2 : 0,
				own: variant !== 'a',
				to: {
					kohya: ['lora_te_text_model_encoder_layers_11_self_attn_out_proj.lora_up.weight'],
					diffusers: ['text_encoder.text_model.encoder.layers.11.self_attn.out_proj.lora_linear_layer.up.weight'],
				},
			});
		});
	});

	test.each(BASES)('0.20 to 0.21, %s', async (base) => {
		const state = new State();
		dottedState(state, transformer(base), 'unet.', LORA_LEAVES);
		dottedState(state, inGroups(base === 'sd2' ? TE_SD2 : TE1, 'attn'), 'text_encoder.', LINEAR_LEAVES);
		if (base === 'sdxl') dottedState(state, inGroups(TE2, 'attn'), 'text_encoder_2.', LINEAR_LEAVES);
		await check(state.input(), {
			layout: 'diffusers-old',
			base,
			modules:
				base === 'sdxl' ? { unet: 722, text_encoder: 48, text_encoder_2: 128 } : { unet: 192, text_encoder: base === 'sd2' ? 92 : 48 },
			to: {
				kohya: [`lora_te${base === 'sdxl' ? '1' : ''}_text_model_encoder_layers_0_self_attn_q_proj.alpha`],
				diffusers: [`unet.down_blocks.1.attentions.0.proj_in.lora_A.weight`],
			},
		});
	});
});

describe('diffusers today', () => {
	/** As the training scripts save: attention `lora.down`, text `lora_linear_layer`, the rest lora_A/B. */
	const today = (base: Base): State => {
		const state = new State();
		for (const m of transformer(base)) state.pair(`unet.${m.path}`, m, 4, m.group === 'attn' ? LORA_LEAVES : PEFT_LEAVES);
		dottedState(state, inGroups(base === 'sd2' ? TE_SD2 : TE1, 'attn'), 'text_encoder.', LINEAR_LEAVES);
		if (base === 'sdxl') dottedState(state, inGroups(TE2, 'attn'), 'text_encoder_2.', LINEAR_LEAVES);
		return state;
	};
	test.each(BASES)('%s, alpha in lora_adapter_metadata', async (base) => {
		const meta = {
			'unet.r': 4,
			'unet.lora_alpha': 2,
			'text_encoder.r': 4,
			'text_encoder.lora_alpha': 4,
			'text_encoder_2.r': 4,
			'text_encoder_2.lora_alpha': 4,
		};
		await check(today(base).input({ format: 'pt', lora_adapter_metadata: JSON.stringify(meta) }), {
			layout: 'diffusers',
			base,
			modules:
				base === 'sdxl' ? { unet: 722, text_encoder: 48, text_encoder_2: 128 } : { unet: 192, text_encoder: base === 'sd2' ? 92 : 48 },
			scalings: [0.5, 1],
			to: {
				kohya: [base === 'sdxl' ? 'lora_unet_input_blocks_4_1_proj_in.alpha' : 'lora_unet_mid_block_attentions_0_proj_in.alpha'],
				peft: /E_/,
			},
		});
	});

	test('text_encoder_1 and transformers 5 names', async () => {
		const state = new State();
		dottedState(state, transformer('sdxl'), 'unet.');
		for (const m of inGroups(TE1, 'attn')) state.pair(`text_encoder_1.${m.path.replace('text_model.', '')}`, m, 4);
		dottedState(state, inGroups(TE2, 'attn'), 'text_encoder_2.');
		for (const m of inGroups(TE1, 'attn')) {
			for (const leaf of ['.lora_down.weight', '.lora_up.weight'])
				state.tensors.delete(`text_encoder_1.${m.path.replace('text_model.', '')}${leaf}`);
			state.pair(`text_encoder_1.${m.path.replace('text_model.', '')}`, m, 4, PEFT_LEAVES);
		}
		await check(state.input(), {
			layout: 'diffusers',
			base: 'sdxl',
			modules: { unet: 722, text_encoder: 48, text_encoder_2: 128 },
			to: { kohya: ['lora_te1_text_model_encoder_layers_0_self_attn_k_proj.lora_up.weight'] },
		});
	});

	test.each(BASES)('save_lora_adapter: no prefix, %s', async (base) => {
		await check(dottedState(new State(), inGroups(unet(base), 'attn'), '').input(), {
			layout: 'diffusers',
			base,
			modules: { unet: base === 'sdxl' ? 560 : 128 },
			to: { kohya: [] },
		});
	});

	test('DoRA and lora_bias, SD1', async () => {
		const state = new State();
		for (const m of inGroups(unet('sd1'), 'attn')) {
			state.pair(`unet.${m.path}`, m, 4, PEFT_LEAVES).put(`unet.${m.path}.lora_magnitude_vector`, [m.out]);
		}
		await check(state.input(), {
			layout: 'diffusers',
			base: 'sd1',
			modules: { unet: 128 },
			to: {
				kohya: ['lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v.dora_scale'],
				peft: [`base_model.model.${Q}.lora_magnitude_vector`],
			},
		});
		for (const m of inGroups(unet('sd1'), 'attn')) {
			state.tensors.delete(`unet.${m.path}.lora_magnitude_vector`);
			state.put(`unet.${m.path}.lora_B.bias`, [m.out]);
		}
		await check(state.input(), {
			layout: 'diffusers',
			base: 'sd1',
			modules: { unet: 128 },
			to: { kohya: /E_UNSUPPORTED_ADAPTER.*up_bias/ },
		});
	});

	test('LCM-LoRA SDXL: kohya\u2019s prefix, diffusers\u2019 names', async () => {
		const mods = unet('sdxl').filter((m) => m.group !== 'outer' || /time_embedding|conv_/.test(m.path));
		await check(kohyaState(new State(), mods, 'lora_unet', { rank: 64, alpha: 64 }).input(), {
			layout: 'kohya',
			base: 'sdxl',
			modules: { unet: mods.length },
			ranks: [64],
			to: {
				diffusers: [
					'unet.down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0.lora_A.weight',
					'unet.time_embedding.linear_1.lora_A.weight',
				],
			},
		});
	});
});
