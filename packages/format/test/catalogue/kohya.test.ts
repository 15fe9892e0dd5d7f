import { describe, expect, test } from 'vitest';
import { planConversion } from '../../src/convert.js';
import { check, refusal, refused } from './check.js';
import { type Mod, unet } from './inventories.js';
import { inGroups, TE_SD2, TE1, TE2, transformer } from './sets.js';
import { dottedState, flat, KOHYA_LEAVES, kohyaState, LORA_LEAVES, PEFT_LEAVES, State } from './state.js';

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
				diffusers: [
					'unet.down_blocks.0.downsamplers.0.conv.lora_A.weight',
					'unet.up_blocks.0.upsamplers.0.conv.lora_B.weight',
					'text_encoder_2.text_model.encoder.layers.31.mlp.fc1.lora_linear_layer.up.weight',
				],
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
		state
			.put('bundle_emb.my.style.clip_l', [2, 768])
			.put('bundle_emb.my.style.clip_g', [2, 1280])
			.put('bundle_emb.my.style.clip_l_out', [2, 768]);
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
			to: {
				diffusers: [
					'unet.add_embedding.linear_1.lora_A.weight',
					'unet.time_embedding.linear_2.lora_B.weight',
					'unet.conv_out.lora_A.weight',
				],
			},
		});
	});

	test('a torch file without alpha', async () => {
		const state = kohyaState(new State(), transformer('sd1'), 'lora_unet', { noAlpha: true });
		await check(
			{ ...state.input(), file: state.file('old.pt') },
			{ layout: 'kohya', base: 'sd1', modules: { unet: 192 }, to: { diffusers: [] } },
		);
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
		await check(state.input(), {
			layout: 'kohya',
			base: 'sd1',
			modules: { unet: 192 },
			scalings: [0.5],
			to: { diffusers: /E_UNSUPPORTED_ADAPTER.*bias/ },
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
