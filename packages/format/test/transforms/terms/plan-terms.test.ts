import { describe, expect, it } from 'vitest';
import type { TargetModule } from '../../../src/adapter.js';
import type { BaseModel } from '../../../src/bases/index.js';
import { planFuse } from '../../../src/transforms/fuse/plan-fuse.js';
import type { AdapterUse } from '../../../src/transforms/strength/adapter-use.js';
import { planTerms } from '../../../src/transforms/terms/plan-terms.js';
import type { ModuleTerms } from '../../../src/transforms/terms/terms-types.js';
import { type BaseEntries, floats, folder, singleFile, useOf, valuesOf } from '../../bases/helpers.js';
import { moduleOf } from '../../families/helpers.js';
import { numbers } from '../../support/small-adapter.js';
import { distanceFromFuse, FORM, type Form, KINDS, moduleFor } from './terms-helpers.js';

const PATH = 'down_blocks.0.resnets.0.conv1';
/** Doubles of one magnitude, some dozen sums of them: far below what a wrong rule would make. */
const EXACT = 1e-12;

function random(count: number, seed: number): number[] {
	return Array.from({ length: count }, numbers(seed));
}

function baseOf(k: number, seed = 1): BaseModel {
	const shape = k === 1 ? [6, 4] : [6, 4, k, k];
	return folder({
		unet: {
			[`${PATH}.weight`]: { shape, values: random(24 * k * k, seed) },
			[`${PATH}.bias`]: { shape: [6], values: random(6, seed + 1) },
		},
	});
}

function formOf(terms: ModuleTerms | undefined): Form {
	if (terms?.dense !== undefined) return 'dense';
	const scale = terms?.rowScale !== undefined ? 'rows' : terms?.columnScale !== undefined ? 'columns' : undefined;
	if (terms?.lowRank === undefined) return scale ?? 'none';
	return scale === undefined ? 'low' : `${scale}+low`;
}

function mustBe(module: TargetModule | undefined): TargetModule {
	if (module === undefined) throw new Error('no such module');
	return module;
}

describe('planTerms: base + terms is what fuse computes before it rounds', () => {
	const cases = [...KINDS].flatMap(([name, kind]) =>
		[1, 3].filter((k) => kind.shapes(k, 1) !== undefined).map((k) => ({ name, k, form: kind.form })),
	);
	it.each(cases)('$name over a kernel of $k', async ({ name, k, form }) => {
		const base = baseOf(k);
		const use = useOf([mustBe(moduleFor(name, k, 2, 'F32', 11, { path: PATH }))], { scale: 0.7 }, { form: FORM });
		const plan = await planTerms(base, [use]);
		// Over a kernel of 1 some ranks are half of all there is.
		const expected = k === 1 && name === 'loha with cores' ? 'dense' : form;
		expect(formOf(plan.modules[0])).toBe(expected);
		expect(await distanceFromFuse(base, [use], plan)).toBeLessThan(expected === 'dense' ? Number.MIN_VALUE : EXACT);
		expect(plan.modules).toHaveLength(1);
		expect(plan.ledger).toEqual((await planFuse(base, [use])).ledger);
	});

	it('ranks add up, scaling and strength are in up', async () => {
		const lora = (scaling: number): TargetModule =>
			moduleOf('lora', { up: floats('F32', [2, 1], [1, 2]), down: floats('F32', [1, 2], [3, 4]) }, { path: PATH, rank: 1, scaling });
		const base = folder({ unet: { [`${PATH}.weight`]: { shape: [2, 2], values: [1, 2, 3, 4] } } });
		const plan = await planTerms(base, [useOf([lora(0.5)], { scale: 3 }), useOf([lora(-1)])]);
		expect(plan.modules).toEqual([
			{
				component: 'unet',
				path: PATH,
				leaf: 'weight',
				shape: [2, 2],
				uses: [0, 1],
				lowRank: {
					rank: 2,
					up: Float64Array.of(1.5, -1, 3, -2),
					down: Float64Array.of(3, 4, 3, 4),
					parts: [
						{ use: 0, rank: 1, strength: 3 },
						{ use: 1, rank: 1, strength: 1 },
					],
				},
				rowScale: undefined,
				columnScale: undefined,
				bias: undefined,
				dense: undefined,
			},
		]);
	});

	it('two DoRA by rows and a LoRA stay scales and a low rank; rows and columns together are dense', async () => {
		const base = baseOf(1);
		const use = (name: string, seed: number, scale: number): AdapterUse =>
			useOf([mustBe(moduleFor(name, 1, 2, 'F32', seed, { path: PATH }))], { scale });
		const rows = [use('dora by rows', 3, 0.6), use('dora by rows', 4, -0.3), use('lora', 5, 2), use('ia3 of rows', 6, 0.5)];
		const plan = await planTerms(base, rows);
		expect(formOf(plan.modules[0])).toBe('rows+low');
		expect(plan.modules[0]?.lowRank?.rank).toBe(6);
		expect(await distanceFromFuse(base, rows, plan)).toBeLessThan(EXACT);
		const both = [...rows, use('ia3 of columns', 7, 1)];
		const mixed = await planTerms(base, both);
		expect(formOf(mixed.modules[0])).toBe('dense');
		expect(await distanceFromFuse(base, both, mixed)).toBe(0);
	});

	it.each(['interpolate', 'lycoris', 'peft'] as const)('DoRA at a strength by the rule %s', async (doraStrength) => {
		for (const name of ['dora by rows', 'dora by columns', 'dora over loha']) {
			const base = baseOf(3);
			const use = useOf([mustBe(moduleFor(name, 3, 2, 'F32', 21, { path: PATH }))], { scale: -1.4 });
			const plan = await planTerms(base, [use], { doraStrength });
			expect(plan.modules[0]?.dense).toBeUndefined();
			expect(await distanceFromFuse(base, [use], plan, { doraStrength })).toBeLessThan(EXACT);
		}
	});

	it('a base larger than one block of rows: norms and dense weights are of all rows', async () => {
		const [out, inner] = [600, 2500];
		const base = folder({ unet: { [`${PATH}.weight`]: { shape: [out, inner], values: random(9973, 5) } } });
		for (const [magnitude, magnitudeAxis] of [
			[[out], 'out'],
			[[1, inner], 'in'],
		] as const) {
			const factors = {
				up: floats('F32', [out, 2], random(2 * out, 6)),
				down: floats('F32', [2, inner], random(2 * inner, 7)),
				magnitude: floats(
					'F32',
					magnitude,
					random(
						magnitude.reduce((a, b) => a * b),
						8,
					),
				),
			};
			const use = useOf([moduleOf('lora', factors, { path: PATH, magnitudeAxis })], { scale: 0.5 });
			expect(await distanceFromFuse(base, [use], await planTerms(base, [use]))).toBeLessThan(EXACT);
		}
		const full = useOf([moduleOf('full', { diff: floats('F32', [out, inner], random(9967, 9)) }, { path: PATH })], { scale: 0.5 });
		const plan = await planTerms(base, [full]);
		expect(plan.modules[0]?.dense).toBeDefined();
		expect(await distanceFromFuse(base, [full], plan)).toBe(0);
	});

	it.each<readonly [string, BaseEntries, TargetModule, string]>([
		[
			'rows of a fused q, k, v',
			{
				'cond_stage_model.model.transformer.resblocks.0.attn.in_proj_weight': { shape: [18, 4], values: random(72, 1) },
				'cond_stage_model.model.transformer.resblocks.0.attn.in_proj_bias': { shape: [18], values: random(18, 2) },
			},
			moduleOf('lora', {}, { component: 'text_encoder', path: 'text_model.encoder.layers.0.self_attn.k_proj' }),
			'text_model.encoder.layers.0.self_attn.k_proj',
		],
		[
			'a projection that is stored transposed',
			{ 'conditioner.embedders.1.model.text_projection': { shape: [4, 6], values: random(24, 3) } },
			moduleOf('lora', {}, { component: 'text_encoder_2', path: 'text_projection' }),
			'text_projection',
		],
		[
			'a flattened name',
			{ [`model.diffusion_model.input_blocks.1.0.in_layers.2.weight`]: { shape: [6, 4, 1, 1], values: random(24, 3) } },
			moduleOf('lora', {}, { path: 'down_blocks_0_resnets_0_conv1', resolved: false }),
			'down_blocks.0.resnets.0.conv1',
		],
	])('%s', async (_, entries, place, path) => {
		const base = singleFile(entries);
		const { component, resolved } = place;
		for (const name of ['lora', 'dora by rows', 'dora by columns', 'oft', 'glora', 'lora with a bias', 'full']) {
			const bias = Object.keys(entries).length > 1;
			if (!bias && (name === 'lora with a bias' || name === 'full')) continue;
			const use = useOf([mustBe(moduleFor(name, 1, 2, 'F32', 9, { component, path: place.path, resolved }))], { scale: 0.9 });
			const plan = await planTerms(base, [use]);
			expect(plan.modules.map((m) => m.path)).toEqual([path]);
			expect(plan.modules[0]?.shape.slice(0, 2)).toEqual([6, 4]);
			expect(await distanceFromFuse(base, [use], plan)).toBeLessThan(EXACT);
		}
	});

	it('norms, their biases, and the modulation table of a Wan block', async () => {
		const norm = moduleOf(
			'norm',
			{ w_norm: floats('F32', [3], [1, 2, 3]), b_norm: floats('F32', [3], [4, 5, 6]) },
			{ path: 'conv_norm_out' },
		);
		const base = folder({
			unet: { 'conv_norm_out.weight': { shape: [3], values: [1] }, 'conv_norm_out.bias': { shape: [3], values: [2] } },
		});
		const [terms] = (await planTerms(base, [useOf([norm], { scale: 2 })])).modules;
		expect(terms?.shape).toEqual([3]);
		expect(await terms?.dense?.()).toEqual(Float64Array.of(3, 5, 7));
		expect(terms?.bias).toEqual(Float64Array.of(8, 10, 12));
		const table = moduleOf('full', { diff_m: floats('F32', [1, 2, 2], [1, 2, 3, 4]) }, { component: 'transformer', path: 'blocks.0' });
		const wan = singleFile({ 'blocks.0.modulation': { shape: [1, 2, 2], values: [10] } });
		const [modulation] = (await planTerms(wan, [useOf([table])])).modules;
		expect(modulation).toMatchObject({ component: 'transformer', path: 'blocks.0', leaf: 'modulation', shape: [1, 2, 2] });
		expect(await modulation?.dense?.()).toEqual(Float64Array.of(11, 12, 13, 14));
	});

	it("an adapter in Black Forest Labs' names has terms by diffusers' modules", async () => {
		const names = ['q', 'k', 'v'].map((l) => `transformer_blocks.0.attn.to_${l}`);
		const base = folder({ transformer: Object.fromEntries(names.map((n, i) => [`${n}.weight`, { shape: [2, 4], values: random(8, i) }])) });
		const module = moduleOf(
			'lora',
			{ up: floats('F32', [6, 2], random(12, 8)), down: floats('F32', [2, 4], random(8, 9)) },
			{ component: 'transformer', path: 'double_blocks.0.img_attn.qkv', rank: 2 },
		);
		const use = useOf([module], { scale: 0.5 }, { naming: 'bfl' });
		const plan = await planTerms(base, [use]);
		expect(plan.modules.map((m) => m.path)).toEqual(names);
		expect(await distanceFromFuse(base, [use], plan)).toBeLessThan(EXACT);
	});

	it('fan_in_fan_out: the weight as the base holds it', async () => {
		const form = new Map([['peft.config', JSON.stringify({ peft_type: 'LORA', fan_in_fan_out: true })]]);
		const base = singleFile({ 'transformer.h.0.attn.c_attn.weight': { shape: [2, 3], values: [0] } });
		const module = moduleOf(
			'lora',
			{ up: floats('F32', [3, 1], [1, 2, 3]), down: floats('F32', [1, 2], [1]) },
			{ component: 'model', path: 'h.0.attn.c_attn' },
		);
		const [terms] = (await planTerms(base, [useOf([module], {}, { form })])).modules;
		expect(await terms?.dense?.()).toEqual(Float64Array.of(1, 2, 3, 1, 2, 3));
	});

	it("where a LoHa becomes dense is the caller's to say", async () => {
		const use = useOf([mustBe(moduleFor('loha of a high rank', 1, 2, 'F32', 11, { path: PATH }))]);
		const plan = await planTerms(baseOf(1), [use], { denseFrom: 2 });
		expect(plan.modules[0]?.lowRank?.rank).toBe(4);
		expect(await distanceFromFuse(baseOf(1), [use], plan)).toBeLessThan(EXACT);
	});
});

describe('planTerms: nothing stays behind', () => {
	it('no adapter, strength 0 and alpha 0 have no terms; dense leaves the base as it was', async () => {
		const base = baseOf(1);
		const tensor = base.files[0]?.state.tensors.get(`${PATH}.weight`);
		const before = await valuesOf(tensor);
		const lora = mustBe(moduleFor('full', 1, 2, 'F32', 11, { path: PATH }));
		for (const terms of (await planTerms(base, [useOf([lora])])).modules) await terms.dense?.();
		expect(await valuesOf(tensor)).toEqual(before);
		expect((await planTerms(base, [])).modules).toEqual([]);
		expect((await planTerms(base, [useOf([lora], { scale: 0 })])).modules).toEqual([]);
		const silent = { ...mustBe(moduleFor('lora', 1, 2, 'F32', 11, { path: PATH })), alpha: 0, scaling: 0 };
		expect(await planTerms(base, [useOf([silent])])).toMatchObject({ modules: [], warnings: [{ code: 'W_ALPHA_ZERO' }] });
	});

	it('embeddings alone are a plan without modules, and no warning about files', async () => {
		const embeddings = [{ token: '<s1>', slot: '', component: 'text_encoder', vectors: floats('F32', [2], [1]) }];
		expect(await planTerms(baseOf(1), [useOf([], {}, { embeddings })])).toMatchObject({
			modules: [],
			embeddings: [{ adapter: 'a.safetensors', embeddings }],
			warnings: [],
		});
	});
});

describe('planTerms refuses what planFuse refuses', () => {
	const lora = moduleOf('lora', { up: floats('F32', [6, 1], [1]), down: floats('F32', [1, 4], [1]) }, { path: PATH, rank: 1 });
	const down = floats('F32', [1, 4], [1, Number.NaN], 'x.lora_down.weight');
	it.each<readonly [string, AdapterUse]>([
		['another width', useOf([{ ...lora, factors: { ...lora.factors, down: floats('F32', [1, 5], [1]) } }])],
		['none of the modules', useOf([{ ...lora, path: 'conv_out' }])],
		['one of the modules', useOf([lora, { ...lora, path: 'conv_out' }])],
		['a component that is not there', useOf([lora, { ...lora, component: 'text_encoder', path: 'text_model.encoder.layers.0.mlp.fc1' }])],
		['NaN', useOf([{ ...lora, factors: { ...lora.factors, down } }])],
		['NaN at a scaling', useOf([{ ...lora, scaling: Number.NaN, rule: 'unread' }])],
		['a strength that is no number', useOf([lora], { scale: Number.NaN })],
		['unknown tensors', useOf([lora], {}, { unknown: new Map([['odd.thing', floats('F32', [1], [1])]]) })],
		['early OFT', useOf([moduleOf('oft', { oft_diag: floats('F32', [2], [1]) }, { path: PATH })])],
		[
			'a kernel on up',
			useOf([moduleOf('lora', { up: floats('F32', [6, 1, 2, 1], [1]), down: floats('F32', [1, 4], [1]) }, { path: PATH })]),
		],
		['OFT of PEFT without its configuration', useOf([moduleOf('peft-oft', { oft_R: floats('F32', [2, 1], [1]) }, { path: PATH })])],
	])('%s', async (_, use) => {
		const fused = await planFuse(baseOf(1), [use]).then(
			() => undefined,
			(error: unknown) => error,
		);
		expect(fused).toMatchObject({ name: 'FormatError' });
		await expect(planTerms(baseOf(1), [use])).rejects.toEqual(fused);
	});

	it('a quantised base', async () => {
		const base = baseOf(1);
		const [file] = base.files;
		const tensor = file?.state.tensors.get(`${PATH}.weight`);
		if (file === undefined || tensor === undefined) throw new Error('no file');
		const state = { ...file.state, tensors: new Map([[`${PATH}.weight`, { ...tensor, dtype: 'I8' as const, nbytes: 24 }]]) };
		await expect(planTerms({ ...base, files: [{ ...file, state }] }, [useOf([lora])])).rejects.toMatchObject({
			code: 'E_UNSUPPORTED_DTYPE',
		});
	});

	it('a DoRA over a row of zeros', async () => {
		const zeros = folder({ unet: { [`${PATH}.weight`]: { shape: [6, 4], values: [0] } } });
		const factors = { up: floats('F32', [6, 1], [0]), down: floats('F32', [1, 4], [1]), magnitude: floats('F32', [6], [1]) };
		const use = useOf([moduleOf('lora', factors, { path: PATH, magnitudeAxis: 'out' })]);
		await expect(planTerms(zeros, [use])).rejects.toMatchObject({ code: 'E_NONFINITE', message: expect.stringContaining(PATH) });
	});

	it('a dense weight that is no number, when it is computed', async () => {
		const base = folder({ unet: { [`${PATH}.weight`]: { shape: [6, 4], values: [Number.NaN] } } });
		const use = useOf([mustBe(moduleFor('glora', 1, 2, 'F32', 3, { path: PATH }))]);
		const [terms] = (await planTerms(base, [use])).modules;
		await expect(terms?.dense?.()).rejects.toMatchObject({ code: 'E_NONFINITE' });
	});
});
