import { describe, expect, test } from 'vitest';
import { check } from './check.js';
import { type Mod, unet } from './inventories.js';
import { BASES, type Base, inGroups, Q, TE_SD2, TE1, TE2, transformer } from './sets.js';
import { flat, State } from './state.js';

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
		const mods = inGroups(
			unet(base),
			'attn',
			...(set === 'attn' ? [] : (['geglu'] as const)),
			...(set === 'extended' ? (['resnet'] as const) : []),
		);
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
		const meta: Record<string, string> = {
			unet: '["GEGLU", "Attention", "CrossAttention"]',
			text_encoder: '["CLIPAttention"]',
			'<s1>': '<embed>',
		};
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
			to: {
				kohya: ['bundle_emb.<s1>.string_to_param.*'],
				diffusers: ['text_encoder.text_model.encoder.layers.0.self_attn.k_proj.lora_linear_layer.down.weight'],
			},
		});
	});
});
