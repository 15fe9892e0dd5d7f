import { describe, test } from 'vitest';
import { check } from './check.js';
import { type Mod, unet } from './inventories.js';
import { inGroups, transformer } from './sets.js';
import { flat, State } from './state.js';

describe('LyCORIS on SDXL', () => {
	const mods = transformer('sdxl');
	const cases: readonly (readonly [
		algo: string,
		family: string,
		put: (s: State, n: string, m: Mod) => unknown,
		ranks: readonly number[],
		scaling: number,
	])[] = [
		[
			'LoHa',
			'loha',
			(s, n, m) =>
				s
					.put(`${n}.hada_w1_a`, [m.out, 4])
					.put(`${n}.hada_w1_b`, [4, m.in])
					.put(`${n}.hada_w2_a`, [m.out, 4])
					.put(`${n}.hada_w2_b`, [4, m.in])
					.value(`${n}.alpha`, 2),
			[4],
			0.5,
		],
		[
			'LoKr factored',
			'lokr',
			(s, n, m) =>
				s
					.put(`${n}.lokr_w1`, [8, 8])
					.put(`${n}.lokr_w2_a`, [m.out / 8, 4])
					.put(`${n}.lokr_w2_b`, [4, m.in / 8])
					.value(`${n}.alpha`, 2),
			[4],
			0.5,
		],
		[
			'LoKr full',
			'lokr',
			(s, n, m) =>
				s
					.put(`${n}.lokr_w1`, [8, 8])
					.put(`${n}.lokr_w2`, [m.out / 8, m.in / 8])
					.value(`${n}.alpha`, 2),
			[],
			1,
		],
		['IA3', 'ia3', (s, n, m) => s.put(`${n}.weight`, [m.out]).value(`${n}.on_input`, 0, 'I64'), [], 1],
		[
			'GLoRA',
			'glora',
			(s, n, m) =>
				s
					.put(`${n}.a1.weight`, [m.in, 4])
					.put(`${n}.a2.weight`, [4, m.in])
					.put(`${n}.b1.weight`, [m.out, 4])
					.put(`${n}.b2.weight`, [4, m.in])
					.value(`${n}.alpha`, 2),
			[4],
			0.5,
		],
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
			to: {
				'lycoris-standalone': [],
				diffusers: family === 'lora' ? (_.includes('input') ? /E_UNSUPPORTED/ : []) : /E_UNSUPPORTED_ADAPTER/,
			},
		});
	});

	test('LoCon with Tucker cores, norms, time_emb_proj and conv_in', async () => {
		const state = new State();
		const convs = inGroups(unet('sdxl'), 'resnet', 'sample', 'outer', 'attn');
		for (const m of convs) {
			const n = `lora_unet_${flat(m.own)}`;
			if (m.k === 3)
				state
					.put(`${n}.lora_down.weight`, [4, m.in, 1, 1])
					.put(`${n}.lora_up.weight`, [m.out, 4, 1, 1])
					.put(`${n}.lora_mid.weight`, [4, 4, 3, 3]);
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
			state
				.put(`${n}.lokr_w1`, [8, 8])
				.put(`${n}.lokr_w2`, [m.out / 8, m.in / 8])
				.value(`${n}.alpha`, 1);
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
