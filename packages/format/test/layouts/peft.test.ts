import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Adapter } from '../../src/adapter.js';
import type { Encoded } from '../../src/layouts/layout.js';
import { peft } from '../../src/layouts/peft.js';
import { factorize } from '../../src/layouts/peft-lokr.js';
import type { StateDict } from '../../src/state-dict.js';
import {
	codeOf,
	codes,
	contents,
	dict,
	fixture,
	fixturePath,
	input,
	type Literal,
	messageOf,
	moduleAt,
	pairs,
	reread,
} from './peft-helpers.js';

const P = 'base_model.model.';
const A1 = 'down_blocks.0.attentions.0.transformer_blocks.0.attn1';
const PT = { format: 'pt' };
const lora = (names: readonly string[], rank = 2): Record<string, Literal> =>
	pairs(
		names.map((n) => P + n),
		'.lora_A.weight',
		'.lora_B.weight',
		rank,
	);
const config = (fields: object = {}): string =>
	JSON.stringify({ peft_type: 'LORA', r: 2, lora_alpha: 2, target_modules: ['to_q'], ...fields });
const decode = (tensors: Record<string, Literal>, text: string | null = config()): Adapter =>
	peft.decode(input(dict(tensors, PT), { config: text ?? undefined }), {});
const encode = (adapter: Adapter): Encoded => peft.encode?.(adapter, { container: 'safetensors', alpha: 'keep' }) as Encoded;

async function expectSame(file: StateDict, text: string): Promise<void> {
	const encoded = encode(peft.decode(input(file, { config: text }), {}));
	expect(encoded.losses).toEqual([]);
	expect(await contents(encoded.files[0]?.tensors ?? new Map())).toEqual(await contents(file.tensors));
	expect(Object.fromEntries(encoded.files[0]?.metadata ?? [])).toEqual(Object.fromEntries(file.metadata));
	expect(encoded.sideFiles.get('adapter_config.json')).toBe(text);
}

describe('peft finds the component by structure', () => {
	it.each([
		[`${A1}.to_q`, 'unet', 'diffusers'],
		['conv_in', 'unet', 'diffusers'],
		['text_model.encoder.layers.0.mlp.fc1', 'text_encoder', 'diffusers'],
		['encoder.layers.0.mlp.fc1', 'text_encoder', 'diffusers'],
		['transformer_blocks.0.attn.to_q', 'transformer', 'diffusers'],
		['double_blocks.0.img_attn.qkv', 'transformer', 'bfl'],
		['joint_blocks.0.x_block.attn.qkv', 'transformer', 'sai'],
		['blocks.0.self_attn.q', 'transformer', 'native'],
		['layers.0.attention.to_q', 'transformer', 'native'],
		['model.layers.0.self_attn.q_proj', 'model', 'native'],
		['transformer.h.0.attn.c_attn', 'model', 'native'],
	])('%s', (path, component, naming) => {
		const adapter = decode(lora([path]));
		expect(adapter.modules[0]?.component).toBe(component);
		expect(adapter.naming).toBe(naming);
	});

	it('writes it where the structure does not show it', () => {
		const adapter = decode(lora(['transformer_blocks.0.attn.to_q']));
		const second = { ...adapter, modules: adapter.modules.map((m) => ({ ...m, component: 'transformer_2' })) };
		const back = peft.decode(reread(encode(second)), {});
		expect(back.modules[0]?.component).toBe('transformer_2');
		expect([...back.form.keys()]).not.toContain('peft.component');
	});
});

describe('peft takes alpha from adapter_config.json', () => {
	it.each<[string, object, number, number, string]>([
		['alpha / r', { r: 2, lora_alpha: 3 }, 3, 1.5, 'alpha/rank'],
		['rsLoRA', { r: 2, lora_alpha: 3, use_rslora: true }, 3, 3 / Math.SQRT2, 'alpha/sqrt(rank)'],
		['alpha_pattern by suffix', { lora_alpha: 3, alpha_pattern: { to_q: 8 } }, 8, 4, 'alpha/rank'],
		['alpha_pattern by regular expression', { lora_alpha: 3, alpha_pattern: { 'attn[0-9]+\\.to_(q|k)': 8 } }, 8, 4, 'alpha/rank'],
		['the first pattern that matches', { alpha_pattern: { 'attn1.to_q': 6, to_q: 8 } }, 6, 3, 'alpha/rank'],
		['a pattern that only ends alike does not match', { lora_alpha: 3, alpha_pattern: { o_q: 8 } }, 3, 1.5, 'alpha/rank'],
		['PEFT\u2019s defaults', { r: undefined, lora_alpha: undefined, rank_pattern: { to_q: 2 } }, 8, 4, 'alpha/rank'],
		['alpha 0', { lora_alpha: 0 }, 0, 0, 'alpha/rank'],
	])('%s', (_, fields, alpha, scaling, rule) => {
		expect(decode(lora([`${A1}.to_q`]), config(fields)).modules[0]).toMatchObject({ alpha, scaling, rule, alphaSource: 'config' });
	});

	it('assumes scaling 1 and warns without it', () => {
		const adapter = peft.decode(input(dict(lora(['conv_in']), PT)), {});
		expect(adapter.modules[0]).toMatchObject({ scaling: 1, alpha: null, rule: 'one' });
		expect(codes(adapter)).toEqual(['W_ALPHA_UNKNOWN']);
	});

	it.each<[string, object, string]>([
		['a rank that the tensors contradict', { r: 64, lora_alpha: 4 }, 'W_METADATA_CONTRADICTS'],
		['pissa', { init_lora_weights: 'pissa_niter_16' }, 'W_BASE_CHANGED'],
		['olora', { init_lora_weights: 'olora' }, 'W_BASE_CHANGED'],
		['loftq', { init_lora_weights: 'loftq' }, 'W_BASE_CHANGED'],
		['fan_in_fan_out', { fan_in_fan_out: true }, 'W_RUNTIMES_DIFFER'],
		['use_dora without magnitudes', { use_dora: true }, 'W_METADATA_CONTRADICTS'],
	])('warns of %s', (_, fields, code) => {
		expect(codes(decode(lora(['conv_in']), config(fields)))).toEqual([code]);
	});

	it.each([true, false, 'gaussian', 'eva'])('init_lora_weights %s is no warning', (init) => {
		expect(codes(decode(lora(['conv_in']), config({ init_lora_weights: init })))).toEqual([]);
	});
});

describe('peft refuses', () => {
	it.each<[string, string, string]>([
		['no JSON', '{', 'E_CONFIG'],
		['a list', '[]', 'E_CONFIG'],
		['null', 'null', 'E_CONFIG'],
		['no type', '{"r": 2}', 'E_CONFIG'],
		['NaN', '{"peft_type": "LORA", "lora_alpha": NaN}', 'E_CONFIG'],
		['r 0', config({ r: 0 }), 'E_CONFIG'],
		['r 1.5', config({ r: 1.5 }), 'E_CONFIG'],
		['r as text', config({ r: '2' }), 'E_CONFIG'],
		['alpha as text', config({ lora_alpha: '2' }), 'E_CONFIG'],
		['an infinite alpha', '{"peft_type": "LORA", "lora_alpha": 1e999}', 'E_CONFIG'],
		['a pattern that is a list', config({ rank_pattern: [1] }), 'E_CONFIG'],
		['a pattern with text', config({ alpha_pattern: { to_q: 'x' } }), 'E_CONFIG'],
		['a pattern with a look-ahead', config({ alpha_pattern: { '(?=a)b': 1 } }), 'E_CONFIG'],
		['use_rslora as text', config({ use_rslora: 'yes' }), 'E_CONFIG'],
		['VeRA', config({ peft_type: 'VERA' }), 'E_UNSUPPORTED_ADAPTER'],
		['prompt tuning', config({ peft_type: 'PROMPT_TUNING' }), 'E_UNSUPPORTED_ADAPTER'],
		['AdaLoRA', config({ peft_type: 'ADALORA' }), 'E_UNSUPPORTED_ADAPTER'],
		['QALoRA', config({ use_qalora: true }), 'E_UNSUPPORTED_ADAPTER'],
		['bare parameters', config({ target_parameters: ['experts.w'] }), 'E_UNSUPPORTED_ADAPTER'],
	])('a configuration with %s', (_, text, code) => {
		expect(codeOf(() => decode(lora(['conv_in']), text))).toBe(code);
	});

	it('patterns that would run for ever', () => {
		const many = Object.fromEntries(Array.from({ length: 400 }, (_, i) => [`(a+)+(b|${'c'.repeat(i)})*d`, 1]));
		const path = `${'a'.repeat(4000)}.to_q`;
		expect(codeOf(() => decode(lora(Array.from({ length: 60 }, (_, i) => path + i)), config({ alpha_pattern: many })))).toBe('E_LIMIT');
	});

	it.each([
		['base_model.model.x.vera_lambda_b', 'VeRA'],
		['base_model.model.x.lora_E', 'AdaLoRA'],
	])('%s, as %s', (name, method) => {
		expect(codeOf(() => decode({ [name]: [[4]] }, null))).toBe('E_UNSUPPORTED_ADAPTER');
		expect(messageOf(() => decode({ [name]: [[4]] }, null))).toContain(method);
	});

	it('several named adapters, until one is chosen', () => {
		const two = {
			...pairs([`${P}conv_in`], '.lora_A.a.weight', '.lora_B.a.weight'),
			...pairs([`${P}conv_in`], '.lora_A.b.weight', '.lora_B.b.weight'),
		};
		expect(codeOf(() => decode(two))).toBe('E_LORA_MULTIPLE_ADAPTERS');
		const chosen = peft.decode(input(dict(two), { config: config() }), { adapterName: 'b' });
		expect(chosen.modules[0]?.factors.down?.origin).toBe(`${P}conv_in.lora_A.b.weight`);
		expect(chosen.unknown.size).toBe(2);
		expect(codeOf(() => peft.decode(input(dict(two)), { adapterName: 'c' }))).toBe('E_LORA_MULTIPLE_ADAPTERS');
	});

	it('half a pair', () => {
		expect(codeOf(() => decode({ [`${P}conv_in.lora_A.weight`]: [[2, 8]] }))).toBe('E_LORA_UNPAIRED');
	});
});

describe('peft comes back as it was', () => {
	it.each<[string, Record<string, Literal>, string]>([
		['plain', lora([`${A1}.to_q`]), config({ lora_alpha: 5, anything: { else: [1] } })],
		['a named adapter', pairs([`${P}conv_in`], '.lora_A.default.weight', '.lora_B.default.weight'), config()],
		['no prefix', pairs(['conv_in'], '.lora_A.weight', '.lora_B.weight'), config()],
		['a component in front', pairs(['transformer.base_model.model.x_embedder'], '.lora_A.weight', '.lora_B.weight'), config()],
		['transformers >= 5', lora(['encoder.layers.0.mlp.fc1']), config()],
		[
			'bias and DoRA',
			{ ...lora(['conv_in']), [`${P}conv_in.lora_B.bias`]: [[8]], [`${P}conv_in.lora_magnitude_vector`]: [[8]] },
			config({ use_dora: true, lora_bias: true }),
		],
		['DoRA of old releases', { ...lora(['conv_in']), [`${P}conv_in.lora_magnitude_vector.weight`]: [[8]] }, config({ use_dora: true })],
		[
			'embeddings',
			{ [`${P}model.embed_tokens.lora_embedding_A`]: [[2, 100]], [`${P}model.embed_tokens.lora_embedding_B`]: [[8, 2]] },
			config({ lora_alpha: 1 }),
		],
		[
			'modules_to_save and bias',
			{
				...lora(['model.layers.0.q']),
				[`${P}score.weight`]: [[2, 8]],
				[`${P}model.layers.0.q.base_layer.bias`]: [[8]],
				[`${P}model.norm.bias`]: [[8]],
			},
			config({ modules_to_save: ['score'], bias: 'all' }),
		],
		['OFT', { [`${P}conv_in.oft_R.weight`]: [[2, 6]] }, '{"peft_type": "OFT", "r": 0, "oft_block_size": 4}'],
		['BOFT', { [`${P}conv_in.boft_R`]: [[1, 2, 4, 4]], [`${P}conv_in.boft_s`]: [[8, 1]] }, '{"peft_type": "BOFT", "boft_block_size": 4}'],
		['IA3', { [`${P}model.q.ia3_l`]: [[8, 1]], [`${P}model.ff.ia3_l`]: [[1, 8]] }, '{"peft_type": "IA3"}'],
	])('%s', async (_, tensors, text) => {
		await expectSame(dict(tensors, PT), text);
		await expectSame(dict(tensors), text);
	});

	it('the same with a configuration made anew when the old one no longer agrees', () => {
		const adapter = decode(lora([`${A1}.to_q`, 'conv_in']), config({ lora_alpha: 4, use_rslora: true }));
		const halved = { ...adapter, modules: adapter.modules.map((m) => ({ ...m, alpha: 2, scaling: 1, rule: 'alpha/rank' as const })) };
		expect(JSON.parse(encode(halved).sideFiles.get('adapter_config.json') ?? '')).toEqual({
			alpha_pattern: {},
			base_model_name_or_path: null,
			bias: 'none',
			inference_mode: true,
			lora_alpha: 2,
			modules_to_save: null,
			peft_type: 'LORA',
			r: 2,
			rank_pattern: {},
			target_modules: ['conv_in', `${A1}.to_q`],
			task_type: null,
			use_dora: false,
			use_rslora: false,
		});
	});

	it('anchors a pattern that would match another module too', () => {
		const adapter = decode(
			{
				...lora(['proj_out'], 4),
				...lora(['transformer_blocks.0.proj_out', 'transformer_blocks.1.proj_out', 'transformer_blocks.2.proj_out']),
			},
			null,
		);
		const made = JSON.parse(encode(adapter).sideFiles.get('adapter_config.json') ?? '');
		expect(made).toMatchObject({ r: 2, lora_alpha: 2, rank_pattern: { '^proj_out': 4 }, alpha_pattern: { '^proj_out': 4 } });
		const back = peft.decode(reread(encode(adapter)), {});
		expect(back.modules.map((m) => [m.path, m.rank, m.scaling])).toEqual([
			['proj_out', 4, 1],
			['transformer_blocks.0.proj_out', 2, 1],
			['transformer_blocks.1.proj_out', 2, 1],
			['transformer_blocks.2.proj_out', 2, 1],
		]);
		expect([...back.form.keys()]).toEqual([]);
	});
});

describe('peft holds one component and one method', () => {
	it('names what needs a file of its own', () => {
		const adapter = decode(lora(['conv_in']));
		const two = { ...adapter, modules: [...adapter.modules, ...adapter.modules.map((m) => ({ ...m, component: 'text_encoder' }))] };
		const { losses, files } = encode(two);
		expect(files[0]?.tensors.size).toBe(2);
		expect(losses).toHaveLength(2);
		expect(losses[0]?.why).toContain('A PEFT file holds one component: this one gets unet');
	});

	it('refuses families that PEFT has no file for', () => {
		const adapter = decode(lora(['conv_in', 'conv_out']));
		const mid = { ...adapter, modules: adapter.modules.map((m, i) => (i === 0 ? { ...m, family: 'locon' as const } : m)) };
		expect(encode(mid).losses[0]?.why).toBe('peft cannot hold locon (1 module): family not supported by PEFT.');
	});
});

describe('LoKr', () => {
	// huggingface/peft tuners/lokr/layer.py factorization, its own doc examples and hand-made ones.
	it.each([
		[256, -1, 16, 16],
		[128, -1, 8, 16],
		[127, -1, 1, 127],
		[128, 4, 4, 32],
		[24, 8, 8, 3],
		[320, 7, 5, 64],
		[1, -1, 1, 1],
	])('factorize(%i, %i)', (dimension, factor, m, n) => {
		expect(factorize(dimension, factor)).toEqual([m, n]);
	});

	it('a file by PEFT 0.21: alpha / r of the configuration, even where both factors are full', async () => {
		const file = await fixture('peft/lokr_decompose_both/adapter_model.safetensors');
		const text = readFileSync(fixturePath('peft/lokr_decompose_both/adapter_config.json'), 'utf8');
		const adapter = peft.decode(input(file, { config: text }), {});
		expect(adapter.modules).toHaveLength(70);
		expect(new Set(adapter.modules.map((m) => m.scaling))).toEqual(new Set([3]));
		await expectSame(file, text);
	});

	it('is described anew so that PEFT makes the same shapes (loaded by PEFT: scripts/interop/peft_load.py)', async () => {
		const file = await fixture('peft/lokr_decompose_both/adapter_model.safetensors');
		const text = readFileSync(fixturePath('peft/lokr_decompose_both/adapter_config.json'), 'utf8');
		const adapter = peft.decode(input(file, { config: text }), {});
		const encoded = encode({ ...adapter, form: new Map() });
		expect(encoded.losses).toEqual([]);
		const { decompose_both, decompose_factor, use_effective_conv2d, r, alpha } = JSON.parse(text);
		expect(JSON.parse(encoded.sideFiles.get('adapter_config.json') ?? '')).toMatchObject({
			decompose_both,
			decompose_factor,
			use_effective_conv2d,
			r,
			alpha,
		});
		expect(new Set(peft.decode(reread(encoded), {}).modules.map((m) => m.scaling))).toEqual(new Set([3]));
	});

	it('keeps scaling 1 for both factors full where alpha was ignored', () => {
		const full = { 'base_model.model.conv_in.lokr_w1': [[4, 4]], 'base_model.model.conv_in.lokr_w2': [[6, 6]] } as Record<string, Literal>;
		const adapter = decode(full, null);
		expect(adapter.modules[0]).toMatchObject({ scaling: 1, rank: undefined });
		const made = JSON.parse(encode(adapter).sideFiles.get('adapter_config.json') ?? '');
		// r >= max(6, 6) / 2 makes PEFT's second factor full.
		expect(made).toMatchObject({ peft_type: 'LOKR', r: 3, alpha: 3 });
	});
});

describe('PEFT conv DoRA', () => {
	it('reads (1, out, 1, 1) as per output row', () => {
		const adapter = decode(
			{
				[`${P}conv_in.lora_A.weight`]: [[2, 4, 3, 3]],
				[`${P}conv_in.lora_B.weight`]: [[8, 2, 1, 1]],
				[`${P}conv_in.lora_magnitude_vector`]: [[1, 8, 1, 1]],
			},
			config({ use_dora: true }),
		);
		expect(moduleAt(adapter, 'unet', 'conv_in').magnitudeAxis).toBe('out');
	});

	it('writes kohya\u2019s (out, 1) as (out) and (1, out, 1, 1)', () => {
		const adapter = decode(
			{ ...lora(['time_embedding.linear_1']), [`${P}time_embedding.linear_1.lora_magnitude_vector`]: [[8, 1]] },
			config({ use_dora: true }),
		);
		expect(encode(adapter).files[0]?.tensors.get(`${P}time_embedding.linear_1.lora_magnitude_vector`)?.shape).toEqual([8]);
	});
});
