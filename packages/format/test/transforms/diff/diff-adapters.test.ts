import { describe, expect, it } from 'vitest';
import type { Role, TargetModule } from '../../../src/adapter.js';
import { deltaOf } from '../../../src/families/index.js';
import { encodeFloats } from '../../../src/half.js';
import { bytesTensor, type Tensor } from '../../../src/tensor.js';
import { diffAdapters } from '../../../src/transforms/diff/diff-adapters.js';
import { adapterEnergy } from '../../../src/transforms/diff/energy.js';
import { energyBlockOf } from '../../../src/transforms/diff/energy-blocks.js';
import { f32, f64, moduleOf } from '../../families/helpers.js';
import { adapterOf, numbers } from '../../support/small-adapter.js';

const ATTN = 'mid_block.attentions.0.transformer_blocks.0.attn1';

function random(seed: number, shapes: Partial<Record<Role, readonly number[]>>, more: Partial<TargetModule> = {}): TargetModule {
	const next = numbers(seed);
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, shape] of Object.entries(shapes) as [Role, readonly number[]][])
		factors[role] = f64(shape, Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next));
	return moduleOf(
		shapes.lokr_w1 !== undefined ? 'lokr' : shapes.hada_w1_a !== undefined ? 'loha' : shapes.diff !== undefined ? 'full' : 'lora',
		factors,
		{
			path: `${ATTN}.to_q`,
			rank: 2,
			...more,
		},
	);
}

/** Norms, inner product and distance from the full deltas. */
async function byHand(a: TargetModule, b: TargetModule): Promise<{ a: number; b: number; cosine: number; difference: number }> {
	const [x, y] = [(await deltaOf(a)).weight?.data ?? new Float64Array(), (await deltaOf(b)).weight?.data ?? new Float64Array()];
	let [xx, yy, xy, dd] = [0, 0, 0, 0];
	for (let i = 0; i < x.length; i++) {
		xx += (x[i] ?? 0) ** 2;
		yy += (y[i] ?? 0) ** 2;
		xy += (x[i] ?? 0) * (y[i] ?? 0);
		dd += ((x[i] ?? 0) - (y[i] ?? 0)) ** 2;
	}
	return { a: Math.sqrt(xx), b: Math.sqrt(yy), cosine: xy / Math.sqrt(xx * yy), difference: Math.sqrt(dd / Math.max(xx, yy)) };
}

const LORA = { up: [12, 2], down: [2, 10] } as const;
const LOHA = { hada_w1_a: [12, 2], hada_w1_b: [2, 10], hada_w2_a: [12, 2], hada_w2_b: [2, 10] } as const;
const LOKR = { lokr_w1: [3, 2], lokr_w2: [4, 5] } as const;

describe('diffAdapters', () => {
	it.each<readonly [string, TargetModule, TargetModule]>([
		['LoRA and LoRA', random(1, LORA, { scaling: 0.5 }), random(2, LORA, { scaling: -2 })],
		['LoRA and LoHa', random(1, LORA), random(3, LOHA)],
		['LoKr and LoKr', random(4, LOKR), random(5, LOKR)],
		['LoKr and LoRA', random(4, LOKR), random(1, LORA)],
		['LoRA and a full difference', random(1, LORA), random(6, { diff: [12, 10] }, { rule: 'none' })],
		['full differences', random(7, { diff: [12, 10] }, { rule: 'none' }), random(6, { diff: [12, 10] }, { rule: 'none' })],
	])('%s: norms, cosine and difference are those of the full deltas', async (_, a, b) => {
		const { modules, blocks, total, same } = await diffAdapters(adapterOf([a]), adapterOf([b]));
		const truth = await byHand(a, b);
		const [m] = modules;
		expect(same).toBe(false);
		expect(m?.a?.norm).toBeCloseTo(truth.a, 12);
		expect(m?.b?.norm).toBeCloseTo(truth.b, 12);
		expect(m?.cosine).toBeCloseTo(truth.cosine, 12);
		expect(m?.difference).toBeCloseTo(truth.difference, 12);
		for (const sum of [blocks[0], total]) {
			expect(sum?.cosine).toBeCloseTo(truth.cosine, 12);
			expect(sum?.difference).toBeCloseTo(truth.difference, 12);
		}
	});

	it('stable and effective rank are what they say', async () => {
		// Singular values 4, 2 and their shares of energy 0.8, 0.2.
		const diagonal = moduleOf('lora', { up: f32([3, 2], [4, 0, 0, 2, 0, 0]), down: f32([2, 2], [1, 0, 0, 1]) }, { rank: 2 });
		const { blocks } = await adapterEnergy(adapterOf([diagonal]));
		const m = blocks[0]?.modules[0];
		expect(m?.stableRank).toBeCloseTo(20 / 16, 12);
		expect(m?.effectiveRank).toBeCloseTo(Math.exp(-(0.8 * Math.log(0.8) + 0.2 * Math.log(0.2))), 12);
		expect([...(m?.values ?? [])].map((x) => Number(x.toFixed(12)))).toEqual([4, 2]);
	});

	it('knows the same adapter: same bits, other scaling, other rotation, other dtype', async () => {
		const a = random(1, LORA, { scaling: 0.5 });
		expect(await diffAdapters(adapterOf([a]), adapterOf([a]))).toMatchObject({
			same: true,
			verdict: 'the same adapter: no difference',
			largest: { difference: 0 },
		});
		// alpha folded into up.
		const up = a.factors.up;
		if (up === undefined) throw new Error('no up');
		const values = new Float64Array((await up.read()).slice().buffer);
		const folded = {
			...a,
			scaling: 1,
			factors: {
				...a.factors,
				up: f64(
					[12, 2],
					[...values].map((x) => x / 2),
				),
			},
		};
		const result = await diffAdapters(adapterOf([a]), adapterOf([folded]));
		expect(result.same).toBe(true);
		expect(result.largest?.difference).toBeLessThan(1e-15);
		const half = { ...a, factors: { ...a.factors, up: bytesTensor('F16', [12, 2], encodeFloats('F16', values)) } };
		const rounded = await diffAdapters(adapterOf([a]), adapterOf([half]));
		expect(rounded.same).toBe(false);
		expect(rounded.largest?.difference).toBeCloseTo((await byHand(a, half)).difference, 15);
		expect((await diffAdapters(adapterOf([a]), adapterOf([half]), { tolerance: 1e-3 })).same).toBe(true);
	});

	it('names what only one side has, and flattened names still meet', async () => {
		const only = random(2, LORA, { path: 'up_blocks.3.attentions.1.proj_in' });
		const flat = { ...random(1, LORA), path: `${ATTN}.to_q`.replaceAll('.', '_'), resolved: false };
		const { modules, total, verdict } = await diffAdapters(adapterOf([random(1, LORA), only]), adapterOf([flat]));
		expect(total).toMatchObject({ both: 1, onlyA: 1, onlyB: 0 });
		expect(verdict).toBe('different: 1 modules only in the first');
		expect(modules.map((m) => [m.path, m.difference])).toEqual([
			[`${ATTN}.to_q`, 0],
			['up_blocks.3.attentions.1.proj_in', null],
		]);
	});

	it('compares DoRA by factors without the base, and says so', async () => {
		const dora = random(1, { ...LORA, magnitude: [12] }, { magnitudeAxis: 'out' });
		const { modules, warnings, same, total } = await diffAdapters(adapterOf([dora]), adapterOf([dora]));
		expect(same).toBe(true);
		expect(modules[0]?.measure).toBe('factors');
		expect(total.normA).toBe(0);
		expect(warnings.map((w) => w.code)).toEqual(['W_NEEDS_BASE']);
		const base = async (): Promise<{ weight: Float64Array; shape: readonly number[] }> => ({
			weight: new Float64Array(120).fill(1),
			shape: [12, 10],
		});
		expect((await diffAdapters(adapterOf([dora]), adapterOf([dora]), { base })).modules[0]?.measure).toBe('delta');
	});

	it('compares embeddings by token', async () => {
		const word = (token: string, value: number): { token: string; slot: string; component: string; vectors: Tensor } => ({
			token,
			slot: '',
			component: 'text_encoder',
			vectors: f32([2], [value, 0]),
		});
		const { embeddings, same } = await diffAdapters(
			adapterOf([random(1, LORA)], { embeddings: [word('<a>', 1), word('<b>', 2), word('<c>', 1)] }),
			adapterOf([random(1, LORA)], { embeddings: [word('<a>', 1), word('<b>', 1), word('<d>', 1)] }),
		);
		expect(same).toBe(false);
		expect(embeddings).toEqual([
			{ component: 'text_encoder', token: '<a>', in: 'both', difference: 0 },
			{ component: 'text_encoder', token: '<b>', in: 'both', difference: 0.5 },
			{ component: 'text_encoder', token: '<c>', in: 'a', difference: null },
			{ component: 'text_encoder', token: '<d>', in: 'b', difference: null },
		]);
	});

	it.each<readonly [string, TargetModule, TargetModule, string]>([
		['another width', random(1, LORA), random(1, { up: [12, 2], down: [2, 8] }), 'E_BASE_MISMATCH'],
		['another width, full', random(6, { diff: [12, 10] }), random(6, { diff: [12, 8] }), 'E_BASE_MISMATCH'],
		['NaN', random(1, LORA), moduleOf('lora', { up: f32([1, 1], [Number.NaN]), down: f32([1, 1], [1]) }), 'E_NONFINITE'],
	])('refuses %s', async (_, a, b, code) => {
		await expect(diffAdapters(adapterOf([a]), adapterOf([b]))).rejects.toMatchObject({ name: 'FormatError', code });
	});

	it('says which of the two files holds NaN', async () => {
		const broken = moduleOf('lora', { up: f32([1, 1], [Number.NaN]), down: f32([1, 1], [1]) });
		const named = { ...adapterOf([broken]), source: { layout: 'kohya', container: 'memory' as const, name: 'second.safetensors' } };
		await expect(diffAdapters(adapterOf([random(1, LORA)]), named)).rejects.toThrow(/^"second\.safetensors": unet .* has NaN/);
	});
});

describe('energyBlockOf', () => {
	it.each([
		['unet', 'down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q', 'down 1.0'],
		['unet', 'down_blocks.1.resnets.0.conv1', 'down 1.0'],
		['unet', 'down_blocks.2.downsamplers.0.conv', 'down 2 sampler'],
		['unet', 'mid_block.attentions.0.proj_in', 'mid'],
		['unet', 'up_blocks.3.resnets.2.conv1', 'up 3.2'],
		['unet', 'time_embedding.linear_1', 'time_embedding'],
		['unet', 'conv_out', 'conv_out'],
		['text_encoder', 'text_model.encoder.layers.11.mlp.fc1', 'layers 11'],
		['transformer', 'single_transformer_blocks.37.attn.to_q', 'single 37'],
		['transformer', 'double_blocks.3.img_attn.qkv', 'double 3'],
		['unet', 'lora_unknown_thing', 'lora_unknown_thing'],
	])('%s %s is %s', (component, path, label) => {
		expect(energyBlockOf(component, path).label).toBe(label);
	});
});
