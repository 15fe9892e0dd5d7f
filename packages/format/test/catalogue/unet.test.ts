import { describe, expect, test } from 'vitest';
import { planConversion } from '../../src/convert.js';
import { check, refusal, refused } from './check.js';
import { clip, type Mod, unet } from './inventories.js';
import { dottedState, flat, KOHYA_LEAVES, kohyaState, LINEAR_LEAVES, LORA_LEAVES, PEFT_LEAVES, State } from './state.js';

type Base = 'sd1' | 'sd2' | 'sdxl';
const BASES: readonly Base[] = ['sd1', 'sd2', 'sdxl'];
const TE1 = clip(12, 768);
const TE_SD2 = clip(23, 1024);
const TE2 = clip(32, 1280);
const inGroups = (mods: readonly Mod[], ...groups: readonly Mod['group'][]): Mod[] => mods.filter((m) => groups.includes(m.group));
/** kohya's default set: everything under Transformer2DModel. */
const transformer = (base: Base): Mod[] => inGroups(unet(base), 'attn', 'geglu', 'ff2', 'proj');
const Q = 'down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q';

describe('the inventories are the catalogue\u2019s', () => {
	test.each([
		['sd1', 192, 282],
		['sd2', 192, 282],
		['sdxl', 722, 794],
	] as const)('%s: %i transformer modules of %i', (base, n, all) => {
		expect(transformer(base).length).toBe(n);
		expect(unet(base).length).toBe(all);
	});
	test('text encoders', () => {
		expect([TE1, TE_SD2, TE2].map((t) => t.length)).toEqual([72, 138, 192]);
	});
});

describe('cloneofsimo lists', () => {
	/** Modules in the injector's order. */
	const listed = (base: Base, set: 'attn' | 'geglu' | 'extended', order: 'old' | 'new'): Mod[] => {
		const mods = inGroups(unet(base), 'attn', ...(set === 'attn' ? [] : (['geglu'] as const)), ...(set === 'extended' ? (['resnet'] as const) : []));
		if (order === 'new' || set === 'attn') return mods;
		const out: Mod[] = [];
		for (const m of mods) {
			if (m.group !== 'geglu') out.push(m);
			// attn1 (4), attn2 (4), then GEGLU: the old order has it between.
			else out.splice(out.length - 4, 0, m);
		}
		return out;
	};
	const list = (mods: readonly Mod[]): State => {
		const state = new State();
		for (const [n, m] of mods.entries()) {
			const k = m.k === 0 ? [] : [m.k, m.k];
			state.put(String(2 * n), [m.out, 4, ...k.map(() => 1)]);
			state.put(String(2 * n + 1), [4, m.in, ...k]);
		}
		return state;
	};
	const COUNTS = { sd1: [256, 288, 448], sd2: [256, 288, 448], sdxl: [1120, 1260, 1384] } as const;

	describe.each(BASES)('%s', (base) => {
		test.each([
			['attn', 'new'],
			['geglu', 'old'],
			['geglu', 'new'],
			['extended', 'old'],
			['extended', 'new'],
		] as const)('%s in the %s order', async (set, order) => {
			const mods = listed(base, set, order);
			expect(2 * mods.length).toBe(COUNTS[base][['attn', 'geglu', 'extended'].indexOf(set)]);
			const state = list(mods);
			const file = state.file('lora_weight.pt', {}, 'list');
			await check(
				{ file, textEncoder: undefined, embeddings: [], config: undefined, base: undefined },
				{
					layout: 'cloneofsimo-list',
					base,
					modules: { unet: mods.length },
					to: {
						kohya: [`lora_unet_${base === 'sdxl' ? 'input_blocks_4_1_transformer_blocks_0_attn1_to_q' : flat(Q)}.lora_down.weight`],
						diffusers: [`unet.${Q}${set === 'attn' ? '.lora.down' : '.lora_A'}.weight`],
						peft: [`base_model.model.${Q}.lora_A.weight`],
					},
				},
			);
		});
	});

	test.each([
		['sd1', 'SD1', TE1, 12],
		['sd2', 'SD2', TE_SD2, 23],
	] as const)('with the text encoder of %s', async (base, _, te, layers) => {
		const text = inGroups(te, 'attn');
		const mods = listed(base, 'geglu', 'new');
		await check(
			{
				file: list(mods).file('foo.pt', {}, 'list'),
				textEncoder: list(text).file('foo.text_encoder.pt', {}, 'list'),
				embeddings: [new State().put('<s1>', [text[0]?.in ?? 0]).file('foo.ti.pt')],
				config: undefined,
				base: undefined,
			},
			{
				layout: 'cloneofsimo-list',
				base,
				modules: { unet: 144, text_encoder: 4 * layers },
				embeddings: 1,
				to: { kohya: [`lora_te_text_model_encoder_layers_${layers - 1}_self_attn_v_proj.lora_up.weight`] },
			},
		);
	});

	test.each(BASES)('.safetensors with tokens, %s', async (base) => {
		const state = new State();
		const meta: Record<string, string> = { unet: '["GEGLU", "Attention", "CrossAttention"]', text_encoder: '["CLIPAttention"]', '<s1>': '<embed>' };
		const put = (name: string, mods: readonly Mod[]): void => {
			for (const [n, m] of mods.entries()) {
				state.put(`${name}:${n}:up`, [m.out, 4]).put(`${name}:${n}:down`, [4, m.in]);
				meta[`${name}:${n}:rank`] = '4';
			}
		};
		const text = inGroups(base === 'sd2' ? TE_SD2 : TE1, 'attn');
		put('unet', listed(base, 'geglu', 'new'));
		put('text_encoder', text);
		state.put('<s1>', [text[0]?.in ?? 0]);
		await check(state.input(meta), {
			layout: 'cloneofsimo-safetensors',
			base,
			modules: { unet: base === 'sdxl' ? 630 : 144, text_encoder: text.length },
			embeddings: 1,
			to: { kohya: ['bundle_emb.<s1>.string_to_param.*'], diffusers: ['text_encoder.text_model.encoder.layers.0.self_attn.k_proj.lora_linear_layer.down.weight'] },
		});
	});
});

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
				kohya: [base === 'sdxl' ? 'lora_unet_input_blocks_4_1_transformer_blocks_0_attn1_to_out_0.alpha' : 'lora_unet_mid_block_attentions_0_transformer_blocks_0_attn1_to_out_0.alpha'],
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
			modules: base === 'sdxl' ? { unet: 722, text_encoder: 48, text_encoder_2: 128 } : { unet: 192, text_encoder: base === 'sd2' ? 92 : 48 },
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
		const meta = { 'unet.r': 4, 'unet.lora_alpha': 2, 'text_encoder.r': 4, 'text_encoder.lora_alpha': 4, 'text_encoder_2.r': 4, 'text_encoder_2.lora_alpha': 4 };
		await check(today(base).input({ format: 'pt', lora_adapter_metadata: JSON.stringify(meta) }), {
			layout: 'diffusers',
			base,
			modules: base === 'sdxl' ? { unet: 722, text_encoder: 48, text_encoder_2: 128 } : { unet: 192, text_encoder: base === 'sd2' ? 92 : 48 },
			scalings: [0.5, 1],
			to: { kohya: [base === 'sdxl' ? 'lora_unet_input_blocks_4_1_proj_in.alpha' : 'lora_unet_mid_block_attentions_0_proj_in.alpha'], peft: /E_/ },
		});
	});

	test('text_encoder_1 and transformers 5 names', async () => {
		const state = new State();
		dottedState(state, transformer('sdxl'), 'unet.');
		for (const m of inGroups(TE1, 'attn')) state.pair(`text_encoder_1.${m.path.replace('text_model.', '')}`, m, 4);
		dottedState(state, inGroups(TE2, 'attn'), 'text_encoder_2.');
		for (const m of inGroups(TE1, 'attn')) {
			for (const leaf of ['.lora_down.weight', '.lora_up.weight']) state.tensors.delete(`text_encoder_1.${m.path.replace('text_model.', '')}${leaf}`);
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
			to: { kohya: ['lora_unet_mid_block_attentions_0_transformer_blocks_0_attn2_to_v.dora_scale'], peft: [`base_model.model.${Q}.lora_magnitude_vector`] },
		});
		for (const m of inGroups(unet('sd1'), 'attn')) {
			state.tensors.delete(`unet.${m.path}.lora_magnitude_vector`);
			state.put(`unet.${m.path}.lora_B.bias`, [m.out]);
		}
		await check(state.input(), { layout: 'diffusers', base: 'sd1', modules: { unet: 128 }, to: { kohya: /E_UNSUPPORTED_ADAPTER.*up_bias/ } });
	});

	test('LCM-LoRA SDXL: kohya\u2019s prefix, diffusers\u2019 names', async () => {
		const mods = unet('sdxl').filter((m) => m.group !== 'outer' || /time_embedding|conv_/.test(m.path));
		await check(kohyaState(new State(), mods, 'lora_unet', { rank: 64, alpha: 64 }).input(), {
			layout: 'kohya',
			base: 'sdxl',
			modules: { unet: mods.length },
			ranks: [64],
			to: { diffusers: ['unet.down_blocks.2.attentions.1.transformer_blocks.9.attn2.to_out.0.lora_A.weight', 'unet.time_embedding.linear_1.lora_A.weight'] },
		});
	});
});

describe('kohya', () => {
	test.each([
		['sd1', TE1],
		['sd2', TE_SD2],
	] as const)('%s with conv and text encoder', async (base, te) => {
		const mods = inGroups(unet(base), 'attn', 'geglu', 'ff2', 'proj', 'resnet', 'sample');
		const state = kohyaState(new State(), mods, 'lora_unet');
		kohyaState(state, te, 'lora_te', { alpha: 4 });
		await check(state.input({ ss_network_module: 'networks.lora', ss_base_model_version: base === 'sd1' ? 'sd_v1' : 'sd_v2' }), {
			layout: 'kohya',
			base,
			confidence: 0.99,
			modules: { unet: mods.length, text_encoder: te.length },
			scalings: [0.5, 1],
			to: {
				diffusers: ['unet.up_blocks.0.upsamplers.0.conv.lora_A.weight', 'unet.down_blocks.0.resnets.0.conv1.lora_B.weight'],
				omi: ['unet.output_blocks.2.1.conv.lora_down.weight'],
				peft: /E_/,
			},
		});
	});

	test('single encoder as lora_te1 (SD1), fp32 alpha of shape [1]', async () => {
		const state = new State();
		for (const m of transformer('sd1')) {
			const name = `lora_unet_${flat(m.path)}`;
			state.pair(name, m, 8).value(`${name}.alpha`, 1, 'F32', [1]);
		}
		kohyaState(state, TE1, 'lora_te1', { rank: 8, alpha: 1 });
		await check(state.input(), {
			layout: 'kohya',
			base: 'sd1',
			modules: { unet: 192, text_encoder: 72 },
			ranks: [8],
			scalings: [0.125],
			to: { diffusers: ['text_encoder.text_model.encoder.layers.3.mlp.fc2.lora_linear_layer.up.weight'] },
		});
	});

	test.each([true, false])('SDXL, sgm names %s, two encoders', async (own) => {
		const mods = unet('sdxl').filter((m) => m.group !== 'outer');
		const state = kohyaState(new State('BF16'), mods, 'lora_unet', { own });
		kohyaState(state, TE1, 'lora_te1');
		kohyaState(state, TE2, 'lora_te2');
		await check(state.input(), {
			layout: 'kohya',
			base: 'sdxl',
			confidence: 0.99,
			modules: { unet: mods.length, text_encoder: 72, text_encoder_2: 192 },
			scalings: [0.5],
			to: {
				diffusers: ['unet.down_blocks.0.downsamplers.0.conv.lora_A.weight', 'unet.up_blocks.0.upsamplers.0.conv.lora_B.weight', 'text_encoder_2.text_model.encoder.layers.31.mlp.fc1.lora_linear_layer.up.weight'],
				omi: ['unet.middle_block.1.transformer_blocks.9.ff.net.2.lora_up.weight', 'clip_g.text_model.encoder.layers.31.mlp.fc1.alpha'],
				'native-dotted': ['diffusion_model.input_blocks.4.1.proj_in.lora_A.weight'],
			},
		});
	});

	test('OneTrainer SDXL: diffusers names, text_projection, bundled embeddings, every outer module', async () => {
		const state = kohyaState(new State(), unet('sdxl'), 'lora_unet', { rank: 16, alpha: 16 });
		kohyaState(state, TE1, 'lora_te1', { rank: 16, alpha: 16 });
		kohyaState(state, TE2, 'lora_te2', { rank: 16, alpha: 16 });
		kohyaState(state, [{ ...(TE2[0] as Mod), path: 'text_projection' }], 'lora_te2', { rank: 16, alpha: 16 });
		state.put('bundle_emb.my.style.clip_l', [2, 768]).put('bundle_emb.my.style.clip_g', [2, 1280]).put('bundle_emb.my.style.clip_l_out', [2, 768]);
		await check(state.input(), {
			layout: 'kohya',
			base: 'sdxl',
			modules: { unet: 794, text_encoder: 72, text_encoder_2: 193 },
			ranks: [16],
			embeddings: 3,
			to: { omi: ['unet.label_emb.0.0.lora_down.weight', 'clip_g.text_projection.lora_down.weight', 'bundle_emb.my.style.clip_g'] },
		});
	});

	test('SDXL label_emb, time_embed and out in sgm names', async () => {
		const mods = inGroups(unet('sdxl'), 'outer', 'attn');
		await check(kohyaState(new State(), mods, 'lora_unet', { own: true }).input(), {
			layout: 'kohya',
			base: 'sdxl',
			modules: { unet: mods.length },
			scalings: [0.5],
			to: { diffusers: ['unet.add_embedding.linear_1.lora_A.weight', 'unet.time_embedding.linear_2.lora_B.weight', 'unet.conv_out.lora_A.weight'] },
		});
	});

	test('a torch file without alpha', async () => {
		const state = kohyaState(new State(), transformer('sd1'), 'lora_unet', { noAlpha: true });
		await check({ ...state.input(), file: state.file('old.pt') }, { layout: 'kohya', base: 'sd1', modules: { unet: 192 }, to: { diffusers: [] } });
	});

	test('A1111\u2019s .scale wins over alpha', async () => {
		const state = kohyaState(new State(), transformer('sd1'), 'lora_unet');
		for (const m of transformer('sd1')) state.value(`lora_unet_${flat(m.path)}.scale`, 0.25);
		await check(state.input(), { layout: 'kohya', base: 'sd1', modules: { unet: 192 }, scalings: [0.25], to: {} });
	});

	test('sparse bias, and A1111\u2019s bias leaf', async () => {
		const state = kohyaState(new State(), transformer('sd1'), 'lora_unet');
		const name = `lora_unet_${flat('mid_block.attentions.0.transformer_blocks.0.attn1.to_q')}`;
		state.put(`${name}.bias_indices`, [2, 3], 'I64').put(`${name}.bias_values`, [3]).put(`${name}.bias_size`, [2], 'I64');
		state.put(`lora_unet_${flat('mid_block.attentions.0.transformer_blocks.0.attn1.to_k')}.bias`, [1280]);
		await check(state.input(), { layout: 'kohya', base: 'sd1', modules: { unet: 192 }, scalings: [0.5], to: { diffusers: /E_UNSUPPORTED_ADAPTER.*bias/ } });
	});
});

describe('LyCORIS on SDXL', () => {
	const mods = transformer('sdxl');
	const cases: readonly (readonly [algo: string, family: string, put: (s: State, n: string, m: Mod) => unknown, ranks: readonly number[], scaling: number])[] = [
		['LoHa', 'loha', (s, n, m) => s.put(`${n}.hada_w1_a`, [m.out, 4]).put(`${n}.hada_w1_b`, [4, m.in]).put(`${n}.hada_w2_a`, [m.out, 4]).put(`${n}.hada_w2_b`, [4, m.in]).value(`${n}.alpha`, 2), [4], 0.5],
		['LoKr factored', 'lokr', (s, n, m) => s.put(`${n}.lokr_w1`, [8, 8]).put(`${n}.lokr_w2_a`, [m.out / 8, 4]).put(`${n}.lokr_w2_b`, [4, m.in / 8]).value(`${n}.alpha`, 2), [4], 0.5],
		['LoKr full', 'lokr', (s, n, m) => s.put(`${n}.lokr_w1`, [8, 8]).put(`${n}.lokr_w2`, [m.out / 8, m.in / 8]).value(`${n}.alpha`, 2), [], 1],
		['IA3', 'ia3', (s, n, m) => s.put(`${n}.weight`, [m.out]).value(`${n}.on_input`, 0, 'I64'), [], 1],
		['GLoRA', 'glora', (s, n, m) => s.put(`${n}.a1.weight`, [m.in, 4]).put(`${n}.a2.weight`, [4, m.in]).put(`${n}.b1.weight`, [m.out, 4]).put(`${n}.b2.weight`, [4, m.in]).value(`${n}.alpha`, 2), [4], 0.5],
		['OFT', 'oft', (s, n, m) => s.put(`${n}.oft_blocks`, [8, m.out / 8, m.out / 8]).value(`${n}.alpha`, 0), [], 1],
		['BOFT', 'boft', (s, n, m) => s.put(`${n}.oft_blocks`, [3, m.out / 8, 8, 8]).put(`${n}.rescale`, [m.out, 1]), [], 1],
		['full', 'full', (s, n, m) => s.put(`${n}.diff`, [m.out, m.in]).put(`${n}.diff_b`, [m.out]), [], 1],
		['DoRA, output axis', 'lora', (s, n, m) => s.pair(n, m, 4).put(`${n}.dora_scale`, [m.out, 1]).value(`${n}.alpha`, 2), [4], 0.5],
		['DoRA, input axis', 'lora', (s, n, m) => s.pair(n, m, 4).put(`${n}.dora_scale`, [1, m.in]).value(`${n}.alpha`, 2), [4], 0.5],
	];
	test.each(cases)('%s', async (_, family, put, ranks, scaling) => {
		const state = new State();
		for (const m of mods) put(state, `lora_unet_${flat(m.own)}`, m);
		await check(state.input(), {
			layout: 'kohya',
			base: 'sdxl',
			confidence: 0.85,
			modules: { unet: 722 },
			families: [family],
			ranks,
			scalings: [scaling],
			to: { 'lycoris-standalone': [], diffusers: family === 'lora' ? (_.includes('input') ? /E_UNSUPPORTED/ : []) : /E_UNSUPPORTED_ADAPTER/ },
		});
	});

	test('LoCon with Tucker cores, norms, time_emb_proj and conv_in', async () => {
		const state = new State();
		const convs = inGroups(unet('sdxl'), 'resnet', 'sample', 'outer', 'attn');
		for (const m of convs) {
			const n = `lora_unet_${flat(m.own)}`;
			if (m.k === 3) state.put(`${n}.lora_down.weight`, [4, m.in, 1, 1]).put(`${n}.lora_up.weight`, [m.out, 4, 1, 1]).put(`${n}.lora_mid.weight`, [4, 4, 3, 3]);
			else state.pair(n, m, 4);
			state.value(`${n}.alpha`, 4);
		}
		state.put('lora_unet_input_blocks_4_1_norm.w_norm', [640]).put('lora_unet_input_blocks_4_1_norm.b_norm', [640]);
		await check(state.input(), {
			layout: 'kohya',
			base: 'sdxl',
			modules: { unet: convs.length + 1 },
			families: ['locon', 'lora', 'norm'],
			to: { diffusers: /E_UNSUPPORTED_ADAPTER/ },
		});
	});

	test('lycoris_ standalone', async () => {
		const state = new State();
		for (const m of transformer('sdxl')) {
			const n = `lycoris_${flat(m.path)}`;
			state.put(`${n}.lokr_w1`, [8, 8]).put(`${n}.lokr_w2`, [m.out / 8, m.in / 8]).value(`${n}.alpha`, 1);
		}
		await check(state.input({ lycoris_config: '{"algo":"lokr"}' }), {
			layout: 'lycoris-standalone',
			base: 'sdxl',
			confidence: 0.85,
			modules: { unet: 722 },
			families: ['lokr'],
			ranks: [],
			to: { kohya: ['lora_unet_input_blocks_4_1_proj_in.lokr_w1'] },
		});
	});
});

describe('one module twice', () => {
	test('sgm and diffusers spellings', () => {
		const state = kohyaState(new State(), transformer('sdxl'), 'lora_unet', { own: true });
		kohyaState(state, transformer('sdxl').slice(0, 3), 'lora_unet');
		const { code, message } = refused(state.input());
		expect(code).toBe('E_LORA_DUPLICATE_MODULE');
		expect(message).toContain('lora_unet_input_blocks_4_1_proj_in');
		expect(message).toContain('lora_unet_down_blocks_1_attentions_0_proj_in');
	});
	test.each(['equal', 'different'])('peft and non-peft, %s values', (how) => {
		const state = dottedState(new State(), transformer('sd1'), 'unet.');
		const [m] = transformer('sd1') as [Mod];
		if (how === 'different') state.pair(`unet.${m.path}`, m, 4, LORA_LEAVES);
		else for (const n of [0, 1]) state.copy(`unet.${m.path}${LORA_LEAVES[n]}`, `unet.${m.path}${PEFT_LEAVES[n]}`);
		const { code, message } = refused(state.input());
		expect(code).toBe('E_LORA_DUPLICATE_MODULE');
		expect(message).toContain(`unet.${m.path}.lora.down.weight`);
		expect(message).toContain(`unet.${m.path}.lora_A.weight`);
	});
	test('kohya names and diffusers names in one file', () => {
		const state = dottedState(new State(), transformer('sd1'), 'unet.');
		kohyaState(state, transformer('sd1'), 'lora_unet');
		const { code, message } = refused(state.input());
		expect(code).toBe('E_LORA_MIXED_LAYOUT');
		expect(message).toContain('lora_unet_');
		expect(message).toContain('unet.');
	});
	test('two stray keys among many', () => {
		const state = kohyaState(new State(), transformer('sd1'), 'lora_unet');
		state.pair('weird.thing', transformer('sd1')[0] as Mod, 4, KOHYA_LEAVES);
		const detectionOnly = refusedConversion(state);
		expect(detectionOnly).toMatch(/^E_UNKNOWN_KEY: 2 tensors .*weird\.thing\.lora_down\.weight/);
	});
});


function refusedConversion(state: State): string {
	const error = refusal(() => planConversion(state.input(), { to: 'diffusers' }));
	return `${error.code}: ${error.message}`;
}
