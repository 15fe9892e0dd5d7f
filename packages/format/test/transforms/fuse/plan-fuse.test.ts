import { describe, expect, it } from 'vitest';
import type { Role, TargetModule } from '../../../src/adapter.js';
import type { BaseModel } from '../../../src/bases/index.js';
import type { Tensor } from '../../../src/tensor.js';
import { fusedTensor } from '../../../src/transforms/fuse/fuse-tensor.js';
import { planFuse } from '../../../src/transforms/fuse/plan-fuse.js';
import type { AdapterUse } from '../../../src/transforms/strength/adapter-use.js';
import { type BaseEntries, floats, folder, singleFile, useOf, valuesOf } from '../../bases/helpers.js';
import { moduleOf } from '../../families/helpers.js';

type Factors = Partial<Record<Role, Tensor>>;

/** A LoRA of rank 1: up (1, 2, ...) times down (1, 1, ...). */
function lora(path: string, out: number, inn: number, more: Partial<TargetModule> = {}): TargetModule {
	const up = Array.from({ length: out }, (_, i) => i + 1);
	const factors: Factors = { up: floats('F32', [out, 1], up), down: floats('F32', [1, inn], [1]) };
	return moduleOf('lora', factors, { path, rank: 1, alpha: 1, rule: 'alpha/rank', ...more });
}

async function fuse(base: BaseModel, uses: readonly AdapterUse[]): Promise<Record<string, number[]>> {
	const plan = await planFuse(base, uses);
	const out: Record<string, number[]> = {};
	for (const touched of plan.touched) out[touched.name] = await valuesOf(fusedTensor(touched));
	return out;
}

const PATH = 'down_blocks.0.attentions.0.proj_in';
const UNET: BaseEntries = {
	[`${PATH}.weight`]: { shape: [2, 2, 1, 1], values: [10, 20, 30, 40] },
	[`${PATH}.bias`]: { shape: [2], values: [5, 6] },
};
const WEIGHT = `${PATH}.weight`;

describe('planFuse', () => {
	it('adds up times down', async () => {
		const plan = await planFuse(folder({ unet: UNET }), [useOf([lora(PATH, 2, 2)], { scale: 0.5 })]);
		expect(plan).toMatchObject({ modules: 1, elements: 4, warnings: [], embeddings: [] });
		expect(plan.ledger).toEqual([
			{
				use: 0,
				adapter: 'a.safetensors',
				component: 'unet',
				path: PATH,
				family: 'lora',
				dora: false,
				rank: 1,
				scaling: 1,
				strength: 0.5,
				tensors: [`unet/model.safetensors:${WEIGHT}`],
			},
		]);
		expect([...(plan.byFile.values().next().value?.keys() ?? [])]).toEqual([WEIGHT]);
		const [touched] = plan.touched;
		expect(touched).toMatchObject({ name: WEIGHT, modules: [`unet ${PATH}`], needsBase: false, blockRows: 2 });
		expect(await valuesOf(touched === undefined ? undefined : fusedTensor(touched))).toEqual([10.5, 20.5, 31, 41]);
	});

	it('sums several adapters, and one adapter twice, with one rounding', async () => {
		// 2048 + 0.6 + 0.6: each alone is rounded away in float16, together they are not.
		const base = folder({ unet: { [WEIGHT]: { shape: [1, 1], values: [2048] } } }, 'F16');
		const one = useOf([lora(PATH, 1, 1)], { scale: 0.6 });
		expect(await fuse(base, [one])).toEqual({ [WEIGHT]: [2048] });
		expect(await fuse(base, [one, one])).toEqual({ [WEIGHT]: [2050] });
	});

	it('strengths multiply: scale, component, block; negative ones subtract', async () => {
		const strength = { scale: -1, components: new Map([['unet', 3]]), blocks: { text: 'x', weightOf: () => 2 } };
		expect(await fuse(folder({ unet: UNET }), [useOf([lora(PATH, 2, 2)], strength)])).toEqual({ [WEIGHT]: [4, 14, 18, 28] });
	});

	it('negative alpha is a number like others', async () => {
		expect(await fuse(folder({ unet: UNET }), [useOf([lora(PATH, 2, 2, { alpha: -2, scaling: -2 })])])).toEqual({
			[WEIGHT]: [8, 18, 26, 36],
		});
	});

	it('alpha 0 warns and touches nothing', async () => {
		const plan = await planFuse(folder({ unet: UNET }), [useOf([lora(PATH, 2, 2, { alpha: 0, scaling: 0 })])]);
		expect(plan.touched).toEqual([]);
		expect(plan.warnings).toMatchObject([{ code: 'W_ALPHA_ZERO', at: PATH }]);
	});

	it('strength 0 touches nothing, and asks nothing of the base', async () => {
		const text = lora('text_model.encoder.layers.0.mlp.fc1', 2, 2, { component: 'text_encoder' });
		const plan = await planFuse(folder({ unet: UNET }), [useOf([lora(PATH, 2, 2), text], { components: new Map([['text_encoder', 0]]) })]);
		expect(plan.ledger.map((e) => [e.component, e.strength, e.tensors.length])).toEqual([
			['unet', 1, 1],
			['text_encoder', 0, 0],
		]);
	});

	it('names the embeddings that no weight holds', async () => {
		const embeddings = [{ token: '<s1>', slot: '', component: 'text_encoder', vectors: floats('F32', [2], [1]) }];
		const plan = await planFuse(folder({ unet: UNET }), [useOf([lora(PATH, 2, 2)], {}, { embeddings })]);
		expect(plan.embeddings).toEqual([{ adapter: 'a.safetensors', embeddings }]);
		expect(plan.warnings).toMatchObject([{ code: 'W_EMBEDDING_BESIDE' }]);
	});

	it.each<readonly [string, string, BaseEntries, TargetModule, Record<string, readonly number[]>]>([
		[
			'OpenCLIP keeps q, k, v in one',
			'text_encoder',
			{
				'cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight': { shape: [6, 2], values: [0] },
				'cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias': { shape: [6], values: [0] },
			},
			moduleOf(
				'full',
				{ diff: floats('F32', [2, 2], [1, 2, 3, 4]), diff_b: floats('F32', [2], [5, 6]) },
				{ path: 'text_model.encoder.layers.0.self_attn.k_proj' },
			),
			{
				'cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight': [0, 0, 0, 0, 1, 2, 3, 4, 0, 0, 0, 0],
				'cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias': [0, 0, 5, 6, 0, 0],
			},
		],
		[
			'OpenCLIP keeps its projection transposed',
			'text_encoder_2',
			{ 'conditioner.embedders.1.model.text_projection': { shape: [2, 3], values: [0] } },
			lora('text_projection', 3, 2),
			{ 'conditioner.embedders.1.model.text_projection': [1, 2, 3, 1, 2, 3] },
		],
		[
			'a diffusers adapter on a BFL file',
			'transformer',
			{ 'double_blocks.0.img_attn.qkv.weight': { shape: [6, 2], values: [0] } },
			lora('transformer_blocks.0.attn.to_v', 2, 2),
			{ 'double_blocks.0.img_attn.qkv.weight': [0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 2, 2] },
		],
		[
			'shift and scale change places',
			'transformer',
			{ 'final_layer.adaLN_modulation.1.weight': { shape: [4, 1], values: [0] } },
			lora('norm_out.linear', 4, 1),
			{ 'final_layer.adaLN_modulation.1.weight': [3, 4, 1, 2] },
		],
		[
			"Wan's modulation table",
			'transformer',
			{ 'blocks.0.modulation': { shape: [1, 2, 2], values: [0] } },
			moduleOf('full', { diff_m: floats('F32', [1, 2, 2], [1, 2, 3, 4]) }, { path: 'blocks.0' }),
			{ 'blocks.0.modulation': [1, 2, 3, 4] },
		],
	])('%s', async (_, component, entries, module, expected) => {
		expect(await fuse(singleFile(entries), [useOf([{ ...module, component }])])).toEqual(expected);
	});

	it('a BFL adapter on a diffusers folder changes the three parts', async () => {
		const part = { shape: [1, 1], values: [0] };
		const names = ['q', 'k', 'v'].map((l) => `transformer_blocks.0.attn.to_${l}.weight`);
		const base = folder({ transformer: Object.fromEntries(names.map((n) => [n, part])) });
		const use = useOf([lora('double_blocks.0.img_attn.qkv', 3, 1, { component: 'transformer' })], {}, { naming: 'bfl' });
		expect(await fuse(base, [use])).toEqual({ [names[0] ?? '']: [1], [names[1] ?? '']: [2], [names[2] ?? '']: [3] });
	});

	it('a whole module over several tensors sees the whole base (OFT over parts of a fused weight)', async () => {
		// R of one 2 x 2 block with q = 1: (I + Q)(I - Q)^-1 = [[0, 1], [-1, 0]], so R^T W is rows (-w1, w0).
		const part = (x: number): { shape: number[]; values: number[] } => ({ shape: [2, 1], values: [x, x + 1] });
		const names = ['q', 'k', 'v'].map((l) => `transformer_blocks.0.attn.to_${l}.weight`);
		const base = folder({ transformer: Object.fromEntries(names.map((n, i) => [n, part(10 * (i + 1))])) });
		const oft = moduleOf(
			'oft',
			{ oft_blocks: floats('F32', [3, 2, 2], [0, 1, 0, 0]) },
			{ component: 'transformer', path: 'double_blocks.0.img_attn.qkv' },
		);
		const result = await fuse(base, [useOf([oft])]);
		expect(Object.values(result).map((v) => v.map((x) => Math.round(x * 1e6) / 1e6))).toEqual([
			[-11, 10],
			[-21, 20],
			[-31, 30],
		]);
	});

	it('DoRA, IA3 and whole weights see the original base, also beside other adapters', async () => {
		const whole = moduleOf(
			'whole',
			{ weight: floats('F32', [2, 2, 1, 1], [1, 2, 3, 4]), bias: floats('F32', [2], [7, 8]) },
			{ path: PATH },
		);
		const ia3 = moduleOf('ia3', { ia3_weight: floats('F32', [2, 1], [1, 0]), on_input: floats('F32', [], [0]) }, { path: PATH });
		// whole: W' - W; IA3 of LyCORIS adds W * weight: together W' + W on the first row.
		expect(await fuse(folder({ unet: UNET }), [useOf([lora(PATH, 2, 2)]), useOf([ia3]), useOf([whole])])).toEqual({
			[WEIGHT]: [12, 23, 5, 6],
			[`${PATH}.bias`]: [7, 8],
		});
	});

	it("PEFT's IA3 over outputs multiplies the bias as well", async () => {
		const ia3 = moduleOf('peft-ia3', { ia3_l: floats('F32', [2, 1], [2, 1]) }, { path: 'conv_in' });
		const base = folder({
			unet: { 'conv_in.weight': { shape: [2, 2], values: [1, 2, 3, 4] }, 'conv_in.bias': { shape: [2], values: [5, 6] } },
		});
		expect(await fuse(base, [useOf([ia3])])).toEqual({ 'conv_in.weight': [2, 4, 3, 4], 'conv_in.bias': [10, 6] });
	});

	it('fan_in_fan_out: the base stores (in, out)', async () => {
		const form = new Map([['peft.config', JSON.stringify({ peft_type: 'LORA', fan_in_fan_out: true })]]);
		const base = singleFile({ 'transformer.h.0.attn.c_attn.weight': { shape: [2, 3], values: [0] } });
		const use = useOf([lora('h.0.attn.c_attn', 3, 2, { component: 'model' })], {}, { form });
		expect(await fuse(base, [use])).toEqual({ 'transformer.h.0.attn.c_attn.weight': [1, 2, 3, 1, 2, 3] });
	});
});

describe('planFuse refuses', () => {
	const good = lora(PATH, 2, 2);
	const unet = folder({ unet: UNET });
	const nan = floats('F32', [1, 2], [1, Number.NaN], 'x.lora_down.weight');
	const inf = floats('F32', [2, 1], [Number.POSITIVE_INFINITY], 'x.lora_up.weight');

	it.each<readonly [string, BaseModel, readonly AdapterUse[], string, RegExp]>([
		['another width', unet, [useOf([lora(PATH, 2, 3)])], 'E_BASE_MISMATCH', /proj_in" it is \(2, 2, 1, 1\) in the base and \(2, 3\)/],
		['another height', unet, [useOf([lora(PATH, 3, 2)])], 'E_BASE_MISMATCH', /\(3, 2\)/],
		['none of the modules', unet, [useOf([lora('conv_out', 2, 2)])], 'E_BASE_MISMATCH', /none of its 1 modules .*conv_out/],
		['one of the modules', unet, [useOf([good, lora('conv_out', 2, 2)])], 'E_MODULE_NOT_IN_BASE', /^1 of 2 modules .*"unet conv_out"/],
		[
			'a component that is not there',
			unet,
			[useOf([good, lora('text_model.encoder.layers.0.mlp.fc1', 2, 2, { component: 'text_encoder' })])],
			'E_MODULE_NOT_IN_BASE',
			/^1 modules .* are of text_encoder, which "base" does not hold/,
		],
		[
			'a bias that is not there',
			folder({ unet: { [WEIGHT]: { shape: [2, 2] } } }),
			[useOf([moduleOf('full', { diff_b: floats('F32', [2], [1]) }, { path: PATH })])],
			'E_BASE_MISMATCH',
			/no.*bias|has none there/,
		],
		[
			'NaN',
			unet,
			[useOf([{ ...good, factors: { ...good.factors, down: nan } }])],
			'E_NONFINITE',
			/unet down_blocks.*NaN at element 1 of its down \("x\.lora_down/,
		],
		['Inf', unet, [useOf([{ ...good, factors: { ...good.factors, up: inf } }])], 'E_NONFINITE', /Infinity at element 0 of its up/],
		['NaN at a scaling', unet, [useOf([{ ...good, scaling: Number.NaN, rule: 'unread' }])], 'E_LORA_ALPHA', /was not read/],
		['a strength that is no number', unet, [useOf([good], { scale: Number.NaN })], 'E_USAGE', /NaN/],
		[
			'unknown tensors',
			unet,
			[useOf([good], {}, { unknown: new Map([['odd.thing', floats('F32', [1], [1])]]) })],
			'E_UNKNOWN_KEY',
			/odd\.thing/,
		],
		['nothing', unet, [useOf([])], 'E_EMPTY_ADAPTER', /nothing to fuse/],
		['no adapter', unet, [], 'E_EMPTY_ADAPTER', /No adapter/],
		[
			'a kernel on up',
			unet,
			[useOf([moduleOf('lora', { up: floats('F32', [2, 1, 2, 1], [1]), down: floats('F32', [1, 2], [1]) }, { path: PATH })])],
			'E_UNSUPPORTED_ADAPTER',
			/kernel is on up/,
		],
		[
			'early OFT',
			unet,
			[useOf([moduleOf('oft', { oft_diag: floats('F32', [2], [1]) }, { path: PATH })])],
			'E_UNSUPPORTED_ADAPTER',
			/oft_diag/,
		],
		[
			'OFT of PEFT without its configuration',
			unet,
			[useOf([moduleOf('peft-oft', { oft_R: floats('F32', [1, 1], [1]) }, { path: PATH })])],
			'E_UNSUPPORTED_ADAPTER',
			/use_cayley_neumann/,
		],
	])('%s', async (_, base, uses, code, message) => {
		await expect(planFuse(base, uses)).rejects.toMatchObject({ name: 'FormatError', code, message: expect.stringMatching(message) });
	});

	it.each(['I8', 'F8_E4M3', 'U8'] as const)('a base in %s', async (dtype) => {
		const base = folder({ unet: UNET });
		const [file] = base.files;
		const tensor = file?.state.tensors.get(WEIGHT);
		if (file === undefined || tensor === undefined) throw new Error('no file');
		const quantised = { ...tensor, dtype, nbytes: 4 };
		const state = { ...file.state, tensors: new Map([[WEIGHT, quantised]]) };
		await expect(planFuse({ ...base, files: [{ ...file, state }] }, [useOf([good])])).rejects.toMatchObject({
			code: 'E_UNSUPPORTED_DTYPE',
			message: expect.stringContaining(`${dtype} in the base`),
		});
	});

	it('unknown tensors may be left out', async () => {
		const plan = await planFuse(unet, [useOf([good], {}, { unknown: new Map([['odd', floats('F32', [1], [1])]]) })], {
			allowUnknown: true,
		});
		expect(plan.warnings).toMatchObject([{ code: 'W_UNKNOWN_KEY', at: 'odd' }]);
	});
});
