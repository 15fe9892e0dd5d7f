import { describe, expect, test } from 'vitest';
import { planConversion } from '../../src/convert.js';
import { decodeAdapter } from '../../src/detect.js';
import type { LayoutInput } from '../../src/layouts/layout.js';
import type { StateDict } from '../../src/state-dict.js';
import { check, refusal, refused } from './check.js';
import { clip, fluxBfl, linear, llm, type Mod, unet } from './inventories.js';
import { dottedState, flat, kohyaState, LORA_LEAVES, PEFT_LEAVES, State } from './state.js';

const solo = (file: StateDict): LayoutInput => ({ file, textEncoder: undefined, embeddings: [], config: undefined, base: undefined });
const attention = (base: 'sd1' | 'sdxl'): Mod[] => unet(base).filter((m) => m.group === 'attn');
const Q = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1.to_q';

describe('PEFT', () => {
	const CONFIG = { peft_type: 'LORA', r: 4, lora_alpha: 8, target_modules: ['q_proj', 'v_proj'], base_model_name_or_path: 'x/y' };
	const mods = llm();
	test('a language model with its configuration', async () => {
		await check(dottedState(new State('BF16'), mods, 'base_model.model.').input({ format: 'pt' }, JSON.stringify(CONFIG)), {
			layout: 'peft',
			base: 'llm',
			modules: { model: mods.length },
			scalings: [2],
			to: { kohya: /E_/ },
		});
	});
	test('rsLoRA, rank_pattern, alpha_pattern', async () => {
		const state = new State();
		for (const m of mods) state.pair(`base_model.model.${m.path}`, m, m.path.endsWith('q_proj') ? 16 : 4, PEFT_LEAVES);
		const config = { ...CONFIG, use_rslora: true, rank_pattern: { q_proj: 16 }, alpha_pattern: { q_proj: 32 } };
		await check(state.input({ format: 'pt' }, JSON.stringify(config)), {
			layout: 'peft',
			base: 'llm',
			modules: { model: mods.length },
			ranks: [4, 16],
			scalings: [4, 8],
		});
	});
	test('a UNet without configuration', async () => {
		await check(dottedState(new State(), attention('sd1'), 'base_model.model.').input({ format: 'pt' }), {
			layout: 'peft',
			base: 'sd1',
			modules: { unet: 128 },
			to: { diffusers: [`unet.${Q}.lora.down.weight`], kohya: [`lora_unet_${flat(Q)}.lora_down.weight`] },
		});
	});
	test.each([
		['.lora_A.default.weight', '.lora_B.default.weight'],
		['.lora_A.style.weight', '.lora_B.style.weight'],
	] as const)('named adapter: %s', async (a, b) => {
		await check(dottedState(new State(), attention('sd1'), 'base_model.model.', [a, b]).input({ format: 'pt' }), {
			layout: 'peft',
			base: 'sd1',
			modules: { unet: 128 },
			to: { diffusers: [`unet.${Q}.lora.down.weight`] },
		});
	});
	test('several named adapters: asked which', () => {
		const state = dottedState(new State(), attention('sd1'), 'base_model.model.', ['.lora_A.one.weight', '.lora_B.one.weight']);
		dottedState(state, attention('sd1'), 'base_model.model.', ['.lora_A.two.weight', '.lora_B.two.weight']);
		const { code, message } = refused(state.input());
		expect(code).toBe('E_LORA_MULTIPLE_ADAPTERS');
		expect(message).toMatch(/"one", "two"/);
		expect(decodeAdapter(state.input(), { adapterName: 'two' }).adapter.modules.length).toBe(128);
	});
	test('embeddings and modules_to_save', async () => {
		const state = dottedState(new State(), mods, 'base_model.model.');
		state
			.put('base_model.model.model.embed_tokens.lora_embedding_A', [4, 1000])
			.put('base_model.model.model.embed_tokens.lora_embedding_B', [256, 4]);
		state.put('base_model.model.lm_head.weight', [1000, 256]);
		await check(state.input({ format: 'pt' }, JSON.stringify({ ...CONFIG, modules_to_save: ['lm_head'] })), {
			layout: 'peft',
			base: 'llm',
			modules: { model: mods.length + 2 },
			families: ['embedding', 'lora', 'whole'],
			scalings: [1, 2],
			to: { kohya: /^E_LOSS: / },
		});
	});
	const families: readonly (readonly [string, string, (s: State, n: string, m: Mod) => unknown, object, readonly number[]])[] = [
		[
			'LOHA',
			'loha',
			(s, n, m) =>
				s
					.put(`${n}.hada_w1_a`, [m.out, 4])
					.put(`${n}.hada_w1_b`, [4, m.in])
					.put(`${n}.hada_w2_a`, [m.out, 4])
					.put(`${n}.hada_w2_b`, [4, m.in]),
			{ alpha: 8 },
			[4],
		],
		[
			'LOKR',
			'lokr',
			(s, n, m) =>
				s
					.put(`${n}.lokr_w1`, [8, 8])
					.put(`${n}.lokr_w2_a`, [m.out / 8, 4])
					.put(`${n}.lokr_w2_b`, [4, m.in / 8]),
			{ alpha: 8 },
			[4],
		],
		['OFT', 'peft-oft', (s, n, m) => s.put(`${n}.oft_R.weight`, [m.in / 32, 496]), { oft_block_size: 32 }, []],
		[
			'BOFT',
			'peft-boft',
			(s, n, m) => s.put(`${n}.boft_R`, [1, m.in / 32, 32, 32]).put(`${n}.boft_s`, [m.out, 1]),
			{ boft_block_size: 32 },
			[],
		],
		['IA3', 'peft-ia3', (s, n, m) => s.put(`${n}.ia3_l`, [m.out, 1]), { feedforward_modules: [] }, []],
	];
	test.each(families)('%s', async (type, family, put, config, ranks) => {
		const state = new State();
		for (const m of mods) put(state, `base_model.model.${m.path}`, m);
		await check(state.input({ format: 'pt' }, JSON.stringify({ peft_type: type, r: 4, target_modules: ['q_proj'], ...config })), {
			layout: 'peft',
			base: 'llm',
			modules: { model: mods.length },
			families: [family],
			ranks,
			scalings: [ranks.length > 0 ? 2 : 1],
		});
	});
	test('AdaLoRA and its kin are refused by name', () => {
		const state = dottedState(new State(), mods, 'base_model.model.').put(
			'base_model.model.model.layers.0.self_attn.q_proj.lora_E',
			[4, 1],
		);
		expect(refused(state.input()).message).toContain('AdaLoRA');
	});
});

describe('damaged by other tools: refused by name, read with repair', () => {
	const mods = attention('sd1');
	const cases: readonly (readonly [string, State, string])[] = [
		['transformer.base_model.model.', dottedState(new State(), fluxBfl(), 'transformer.base_model.model.'), 'native-dotted|diffusers|peft'],
		['unet.base_model.model.', dottedState(new State(), mods, 'unet.base_model.model.'), 'diffusers'],
		['unet.unet.', dottedState(new State(), mods, 'unet.unet.'), 'diffusers'],
		['lora_unet_unet_', kohyaState(new State(), mods, 'lora_unet_unet'), 'kohya'],
		['base_model.model.base_model.model.', dottedState(new State(), mods, 'base_model.model.base_model.model.'), 'peft'],
		[
			'flat path behind unet.',
			dottedState(
				new State(),
				mods.map((m) => ({ ...m, path: flat(m.path) })),
				'unet.',
			),
			'diffusers',
		],
	];
	test.each(cases)('%s', (_, state, layouts) => {
		const { code, message } = refused(state.input());
		expect(code).toBe('E_NEEDS_REPAIR');
		expect(message).toContain('--repair');
		const { adapter, layout } = decodeAdapter(state.input(), { repair: true });
		expect(layouts.split('|')).toContain(layout.id);
		expect(adapter.modules.length).toBe(state.tensors.size / (layouts === 'kohya' ? 3 : 2));
		expect(adapter.unknown.size).toBe(0);
		expect(['sd1', 'flux']).toContain(adapter.base.family);
		expect(adapter.warnings.some((w) => w.code === 'W_REPAIRED')).toBe(true);
	});
	test('lora_magnitude_vector under kohya names (ComfyUI #3494)', () => {
		const state = kohyaState(new State(), mods, 'lora_unet');
		for (const m of mods) state.put(`lora_unet_${m.path.replaceAll('.', '_').replace('_to_', '.to_')}.lora_magnitude_vector`, [m.out]);
		expect(refused(state.input()).code).toBe('E_NEEDS_REPAIR');
		const { adapter } = decodeAdapter(state.input(), { repair: true });
		expect(adapter.modules.every((m) => m.magnitudeAxis === 'out')).toBe(true);
	});
	test('half of a pair is missing', () => {
		const state = kohyaState(new State(), mods, 'lora_unet');
		state.tensors.delete(`lora_unet_${flat(Q)}.lora_up.weight`);
		const { code, message, kind } = refused(state.input());
		expect([code, kind]).toEqual(['E_LORA_UNPAIRED', 'damaged']);
		expect(message).toContain(Q);
	});
	test('every up factor is missing: no full differences, but a file cut in half', () => {
		const state = new State();
		for (const m of mods) state.put(`unet.${m.path}.lora_A.weight`, [4, m.in]);
		expect(refused(state.input()).code).toBe('E_LORA_UNPAIRED');
	});
	test('both factors transposed', () => {
		const state = new State();
		for (const m of mods)
			state.put(`lora_unet_${flat(m.path)}.lora_down.weight`, [m.in, 4]).put(`lora_unet_${flat(m.path)}.lora_up.weight`, [4, m.out]);
		expect(refused(state.input()).code).toMatch(/E_LORA_(TRANSPOSED|RANK)/);
	});
});

describe('no LoRA at all', () => {
	const whole = (state: State, mods: readonly Mod[], prefix: string, own = false): State => {
		for (const m of mods) {
			const n = prefix + (own ? m.own : m.path);
			state.put(`${n}.weight`, m.k === 0 ? [m.out, m.in] : [m.out, m.in, m.k, m.k]).put(`${n}.bias`, [m.out]);
		}
		return state;
	};
	const vae = (s: State, p = ''): State =>
		[
			'encoder.conv_in',
			'decoder.conv_out',
			'encoder.down.0.block.0.conv1',
			'decoder.up.1.block.2.conv2',
			'quant_conv',
			'post_quant_conv',
		].reduce((a, n) => a.put(`${p}${n}.weight`, [4, 4, 3, 3]).put(`${p}${n}.bias`, [4]), s);
	const checkpoint = (base: 'sd1' | 'sdxl'): State => {
		const s = vae(whole(new State(), unet(base), 'model.diffusion_model.', true), 'first_stage_model.');
		const te = base === 'sd1' ? 'cond_stage_model.transformer.' : 'conditioner.embedders.0.transformer.';
		return whole(s, clip(12, 768), te);
	};
	const cases: readonly (readonly [string, () => StateDict, RegExp])[] = [
		['SD1 checkpoint', () => checkpoint('sd1').file('v1-5.safetensors'), /Stable Diffusion checkpoint/],
		['SDXL checkpoint', () => checkpoint('sdxl').file('xl.safetensors'), /Stable Diffusion checkpoint/],
		['Flux checkpoint, bare', () => whole(new State(), fluxBfl(), '').file(), /transformer/],
		['Flux checkpoint, prefixed', () => whole(new State(), fluxBfl(), 'model.diffusion_model.').file(), /checkpoint|transformer/],
		['diffusers UNet', () => whole(new State(), unet('sd1'), '').file(), /UNet/],
		['VAE', () => vae(new State()).file(), /VAE/],
		['textual inversion', () => new State().put('emb_params', [2, 768]).file(), /embedding/],
		['textual inversion, A1111', () => new State().put('string_to_param.*', [2, 768]).file('x.pt'), /embedding/],
		['SDXL embedding', () => new State().put('clip_l', [2, 768]).put('clip_g', [2, 1280]).file(), /embedding/],
		[
			'hypernetwork',
			() =>
				['320', '640', '768', '1280']
					.reduce((s, w) => s.put(`${w}[0].linear.0.weight`, [640, 320]).put(`${w}[1].linear.0.weight`, [320, 640]), new State())
					.file('hyper.pt'),
			/hypernetwork/,
		],
		[
			'ControlNet',
			() => whole(new State().put('control_model.input_hint_block.0.weight', [16, 3, 3, 3]), unet('sd1'), 'control_model.', true).file(),
			/ControlNet/,
		],
		[
			'ControlNet of diffusers',
			() => whole(new State().put('controlnet_cond_embedding.conv_in.weight', [16, 3, 3, 3]), unet('sd1'), '').file(),
			/ControlNet/,
		],
		[
			'LLLite',
			() =>
				attention('sdxl')
					.reduce((s, m) => s.put(`lllite_unet_${flat(m.own)}.down.0.weight`, [32, m.in]), new State())
					.file(),
			/LLLite/,
		],
		[
			'control-LoRA',
			() =>
				attention('sdxl')
					.reduce((s, m) => s.put(`${m.own}.up`, [m.out, 128]).put(`${m.own}.down`, [128, m.in]), new State().put('lora_controlnet', [1]))
					.file(),
			/control-LoRA/,
		],
		[
			'IP-Adapter',
			() => new State().put('ip_adapter.1.to_k_ip.weight', [320, 768]).put('image_proj.proj.weight', [3072, 1024]).file(),
			/IP-Adapter/,
		],
		[
			'IP-Adapter FaceID LoRA',
			() =>
				['to_q', 'to_k', 'to_v', 'to_out']
					.reduce((s, l) => s.pair(`0.${l}`, linear('', 320, 320), 128, ['_lora.down.weight', '_lora.up.weight']), new State())
					.file(),
			/IP-Adapter/,
		],
		[
			'T2I-Adapter',
			() => new State().put('body.0.block1.weight', [320, 320, 3, 3]).put('body.0.block2.weight', [320, 320, 1, 1]).file(),
			/T2I/,
		],
		['optimizer', () => new State().put('state.0.exp_avg', [4, 4]).put('state.0.exp_avg_sq', [4, 4]).file('optimizer.bin'), /optimizer/],
		[
			'zero shard',
			() =>
				new State()
					.put('optimizer_state_dict.fp32_flat_groups.0', [1000])
					.put('optimizer_state_dict.base_optimizer_state.state.0.exp_avg', [1000])
					.file('zero_pp_rank_0_mp_rank_00_optim_states.pt'),
			/optimizer/,
		],
		['language model', () => whole(new State(), llm(), '').file(), /text model/],
		['nothing known', () => new State().put('fc1.weight', [4, 4]).put('fc2.weight', [4, 4]).file(), /no layout/],
	];
	test.each(cases)('%s', (_, file, what) => {
		const found = refused(solo(file()));
		expect([found.code, found.kind]).toEqual(['E_NOT_A_LORA', 'not-lora']);
		expect(found.message).toMatch(what);
		expect(found.what).toMatch(/^Not a LoRA/);
	});
	test('an empty file', () => expect(refused(new State().input()).code).toBe('E_EMPTY_ADAPTER'));
});

describe('LoRAs with something beside', () => {
	test('bundled embeddings in an SD1 file', async () => {
		const state = kohyaState(new State(), attention('sd1'), 'lora_unet').put('bundle_emb.ohwx.string_to_param.*', [2, 768]);
		await check(state.input(), {
			layout: 'kohya',
			base: 'sd1',
			modules: { unet: 128 },
			scalings: [0.5],
			embeddings: 1,
			to: { diffusers: [`unet.${Q}.lora.down.weight`] },
		});
	});
	test('two stray keys among 524: the LoRA is told, the strays named, conversion goes on only when asked', () => {
		const state = dottedState(new State(), attention('sdxl').slice(0, 261), 'unet.', LORA_LEAVES);
		state.put('stray.one', [3]).put('stray.two', [3]);
		expect(state.tensors.size).toBe(524);
		expect(decodeAdapter(state.input()).adapter.unknown.size).toBe(2);
		expect(refusal(() => planConversion(state.input(), { to: 'kohya' })).message).toMatch(/"stray\.one", "stray\.two"/);
		const plan = planConversion(state.input(), { to: 'kohya', allowLoss: true });
		expect(plan.receipt.counts.tensors.lost).toBe(2);
	});
	test('lora_A in some modules, lora.down in others', async () => {
		const state = new State();
		for (const [n, m] of attention('sd1').entries()) state.pair(`unet.${m.path}`, m, 4, n % 2 === 0 ? PEFT_LEAVES : LORA_LEAVES);
		await check(state.input(), { layout: 'diffusers', base: 'sd1', modules: { unet: 128 }, to: { kohya: [] } });
	});
	test('Flux in BFL names twice, bare and prefixed', () => {
		const state = dottedState(new State(), fluxBfl(), 'diffusion_model.');
		dottedState(state, fluxBfl().slice(0, 1), '');
		const { code, message } = refused(state.input());
		expect(code).toBe('E_LORA_DUPLICATE_MODULE');
		expect(message).toContain('diffusion_model.double_blocks.0.img_attn.qkv.lora_A.weight');
	});
});
