import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import type { Adapter, Family, Role, TargetModule } from '../../../src/adapter.js';
import { planSafetensors } from '../../../src/containers/safetensors-write.js';
import { deltaOf } from '../../../src/families/index.js';
import { findLayout } from '../../../src/layouts/index.js';
import { bytesTensor, type Tensor } from '../../../src/tensor.js';
import { chooseRank, type RankRule, ranksForSize } from '../../../src/transforms/resize/choose-rank.js';
import { resizeAdapter } from '../../../src/transforms/resize/resize-adapter.js';
import { runResizeJob } from '../../../src/transforms/resize/resize-job.js';
import { f32, f64, moduleOf } from '../../families/helpers.js';
import { adapterOf, numbers, relativeDistance, valuesOf } from '../../support/small-adapter.js';

interface Case {
	readonly name: string;
	readonly family: Family;
	readonly factors: Readonly<Partial<Record<Role, { readonly shape: readonly number[]; readonly data: readonly number[] }>>>;
	readonly shape: readonly number[];
	readonly singularValues: readonly number[];
	readonly ranks: Readonly<Record<string, number>>;
}

const { cases } = JSON.parse(readFileSync(new URL('../../../../../fixtures/resize/cases.json', import.meta.url), 'utf8')) as {
	cases: readonly Case[];
};

function moduleFor(c: Case, more: Partial<TargetModule> = {}, path = 'x'): TargetModule {
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, value] of Object.entries(c.factors) as [Role, Case['factors'][Role]][])
		if (value !== undefined) factors[role] = f32(value.shape, value.data, role);
	return moduleOf(c.family, factors, { path, rank: c.factors.down?.shape[0] ?? 2, ...more });
}

function parseRule(text: string): RankRule {
	const [kind = '', value = ''] = text.split(' ');
	return { kind: kind as 'sv-ratio', value: Number(value) };
}

describe.each(cases)('resize $name', (c) => {
	it('finds the singular values that numpy finds', async () => {
		const { values } = await runResizeJob({
			where: 'unet x',
			family: c.family,
			factors: await Promise.all(
				(Object.entries(moduleFor(c).factors) as [Role, Tensor][]).map(
					async ([role, t]) => [role, t.dtype, t.shape, await t.read()] as const,
				),
			),
			dtype: 'F32',
			rule: { kind: 'values' },
			bounds: { shorter: 100, cap: 100 },
			gains: new Map(),
		});
		const largest = c.singularValues[0] ?? 0;
		c.singularValues.forEach((s, i) => {
			expect(Math.abs((values?.[i] ?? 9) - s) / largest).toBeLessThan(1e-12);
		});
	});

	it.each(Object.entries(c.ranks))('%s keeps %i', async (rule, rank) => {
		const { modules, adapter } = await resizeAdapter(adapterOf([moduleFor(c)]), { rule: parseRule(rule) });
		expect(modules[0]).toMatchObject({ newRank: rank });
		expect(adapter.modules[0]?.factors.down?.shape[0]).toBe(rank);
	});

	it.each(['F32', 'F16', 'BF16'] as const)('states the true error in %s', async (dtype) => {
		const before = moduleFor(c, { rule: 'alpha/rank', alpha: 3, scaling: 3 / (c.factors.down?.shape[0] ?? 2) });
		const { adapter, modules } = await resizeAdapter(adapterOf([before]), { rule: { kind: 'rank', rank: 2 }, dtype });
		const after = adapter.modules[0];
		if (after === undefined) throw new Error('no module');
		expect(after).toMatchObject({ family: 'lora', rank: 2, scaling: before.scaling, alpha: before.scaling * 2 });
		expect(after.factors.up?.dtype).toBe(dtype);
		const [old, fresh] = [(await deltaOf(before)).weight, (await deltaOf(after)).weight];
		if (old === undefined || fresh === undefined) throw new Error('no delta');
		expect(fresh.shape).toEqual(c.shape);
		const error = relativeDistance(fresh.data, old.data);
		expect(Math.abs((modules[0]?.error ?? 9) - error)).toBeLessThan(1e-12);
		// The best possible: all singular values but two.
		const squares = c.singularValues.map((s) => s * s);
		const total = squares.reduce((a, b) => a + b, 0);
		const best = Math.sqrt(squares.slice(2).reduce((a, b) => a + b, 0) / total);
		expect(modules[0]?.energyKept).toBeCloseTo(1 - best ** 2, 12);
		expect(error).toBeGreaterThan(best * 0.9999);
		expect(error).toBeLessThan(best + (dtype === 'BF16' ? 0.01 : 0.001));
	});
});

describe('resizeAdapter', () => {
	const next = numbers(7);
	const random = (shape: readonly number[]): Tensor => f64(shape, Array.from({ length: shape.reduce((a, b) => a * b, 1) }, next));
	const lora = (path: string, rank: number, more: Partial<TargetModule> = {}): TargetModule =>
		moduleOf('lora', { up: random([30, rank]), down: random([rank, 20]) }, { path, rank, ...more });

	it('also measures errors that are only rounding', async () => {
		const module = moduleOf(
			'loha',
			{ hada_w1_a: random([9, 2]), hada_w1_b: random([2, 7]), hada_w2_a: random([9, 2]), hada_w2_b: random([2, 7]) },
			{ rank: 2 },
		);
		const { adapter, modules } = await resizeAdapter(adapterOf([module]), { rule: { kind: 'sv-fro', value: 1 }, dtype: 'F32' });
		const [after] = adapter.modules;
		if (after === undefined) throw new Error('no module');
		const error = relativeDistance(
			(await deltaOf(after)).weight?.data ?? new Float64Array(),
			(await deltaOf(module)).weight?.data ?? new Float64Array(),
		);
		expect(error).toBeGreaterThan(1e-9);
		expect(error).toBeLessThan(1e-6);
		expect(Math.abs((modules[0]?.error ?? 9) - error)).toBeLessThan(1e-14);
	});

	it('carries what is low enough, or no product, bit for bit and names it', async () => {
		const small = lora('small', 2);
		const norm = moduleOf('norm', { w_norm: random([4]) }, { path: 'norm', rule: 'none' });
		const dora = lora('dora', 4, {
			factors: { up: random([30, 4]), down: random([4, 20]), magnitude: random([30]) },
			magnitudeAxis: 'out',
		});
		const result = await resizeAdapter(adapterOf([small, lora('big', 8), norm, dora]), { rule: { kind: 'rank', rank: 4 } });
		expect(result.adapter.modules[0]).toBe(small);
		expect(result.adapter.modules[2]).toBe(norm);
		expect(result.adapter.modules[3]).toBe(dora);
		expect(result.modules.map((m) => [m.path, m.how, m.newRank])).toEqual([
			['small', 'carried', 2],
			['big', 'resized', 4],
			['norm', 'carried', null],
			['dora', 'carried', null],
		]);
		expect(result.warnings.map((w) => w.code)).toEqual(['W_RANK']);
		expect(result.warnings[0]?.message).toContain('2 of 4 modules');
	});

	it('keeps the scaling where alpha has to be rounded', async () => {
		// alpha 1 at rank 3 is 2/3 at rank 2, which float16 cannot say; nor can float32.
		const alphaTensor = bytesTensor('F16', [], new Uint8Array([0x00, 0x3c]), 'x.alpha');
		const before = lora('x', 3, { alpha: 1, alphaSource: 'tensor', alphaTensor, rule: 'alpha/rank', scaling: 1 / 3 });
		const { adapter, modules } = await resizeAdapter(adapterOf([before]), { rule: { kind: 'rank', rank: 2 } });
		const [after] = adapter.modules;
		if (after === undefined) throw new Error('no module');
		expect(after.alphaTensor?.dtype).toBe('F32');
		expect(after.alpha).toBe(Math.fround(2 / 3));
		expect([...(await valuesOf(after.alphaTensor))]).toEqual([Math.fround(2 / 3)]);
		const error = relativeDistance(
			(await deltaOf(after)).weight?.data ?? new Float64Array(),
			(await deltaOf(before)).weight?.data ?? new Float64Array(),
		);
		expect(Math.abs((modules[0]?.error ?? 9) - error)).toBeLessThan(1e-13);
	});

	it('turns an embedding LoRA the right way round', async () => {
		const before = moduleOf('embedding', { embedding_up: random([6, 4]), embedding_down: random([4, 11]) }, { rank: 4 });
		const { adapter, modules } = await resizeAdapter(adapterOf([before]), { rule: { kind: 'rank', rank: 2 } });
		const [after] = adapter.modules;
		if (after === undefined) throw new Error('no module');
		expect([after.family, after.factors.embedding_up?.shape, after.factors.embedding_down?.shape]).toEqual(['embedding', [6, 2], [2, 11]]);
		const error = relativeDistance(
			(await deltaOf(after)).weight?.data ?? new Float64Array(),
			(await deltaOf(before)).weight?.data ?? new Float64Array(),
		);
		expect(Math.abs((modules[0]?.error ?? 9) - error)).toBeLessThan(1e-13);
	});

	it('keeps zeros zero', async () => {
		const zero = moduleOf('lora', { up: f32([5, 4], new Array(20).fill(0)), down: random([4, 6]) }, { rank: 4 });
		const { modules } = await resizeAdapter(adapterOf([zero, lora('b', 4)]), { rule: { kind: 'sv-ratio', value: 10 } });
		expect(modules[0]).toMatchObject({ newRank: 1, error: 0, energyKept: 1, norm: 0 });
	});

	it('makes kohya metadata true', async () => {
		const metadata = new Map([
			['ss_network_dim', '8'],
			['ss_network_alpha', '4.0'],
			['ss_network_args', '{"conv_dim": "8", "conv_alpha": "1", "algo": "loha"}'],
			['ss_output_name', 'style'],
		]);
		const conv = moduleOf(
			'lora',
			{ up: random([6, 8, 1, 1]), down: random([8, 3, 3, 3]) },
			{ path: 'conv', rank: 8, alpha: 1, rule: 'alpha/rank', scaling: 1 / 8 },
		);
		const { adapter } = await resizeAdapter(adapterOf([lora('a', 8, { alpha: 4, rule: 'alpha/rank', scaling: 0.5 }), conv], { metadata }), {
			rule: { kind: 'rank', rank: 4 },
			convRank: 2,
		});
		expect(Object.fromEntries(adapter.metadata)).toEqual({
			ss_network_dim: '4',
			ss_network_alpha: '2',
			ss_network_args: '{"conv_dim":"2","conv_alpha":"0.25","algo":"lora"}',
			ss_output_name: 'style',
		});
	});

	it('fills a size to the byte and never passes it', async () => {
		const modules = Array.from({ length: 6 }, (_, i) => {
			const up = random([30 + 10 * i, 12]);
			return moduleOf(
				'lora',
				{ up, down: random([12, 20]) },
				{ path: `mid_block.attentions.${i}.proj_in`, rank: 12, alpha: 12, rule: 'alpha/rank', scaling: 1 },
			);
		});
		const bytesOf = (adapter: Adapter): number => {
			const encoded = findLayout('kohya').encode?.(adapter, { container: 'safetensors', alpha: 'keep', order: undefined });
			const [file] = encoded?.files ?? [];
			if (file === undefined) throw new Error('no file');
			return planSafetensors(file.tensors, file.metadata).totalBytes;
		};
		for (const bytes of [5000, 8001, 11_111, 12_345]) {
			const result = await resizeAdapter(adapterOf(modules), { rule: { kind: 'size', bytes }, dtype: 'F16', bytesOf });
			const size = bytesOf(result.adapter);
			expect(size).toBeLessThanOrEqual(bytes);
			// The next rank of the narrowest module would be (30 + 20) * 2 bytes more.
			expect(size).toBeGreaterThan(bytes - 2 * (80 + 20) - 64);
		}
		// Room for everything: nothing is touched.
		const whole = await resizeAdapter(adapterOf(modules), { rule: { kind: 'size', bytes: 1e9 }, bytesOf });
		expect(whole.adapter.modules).toEqual(modules);
		await expect(resizeAdapter(adapterOf(modules), { rule: { kind: 'size', bytes: 1000 }, bytesOf })).rejects.toMatchObject({
			code: 'E_RANK',
		});
	});

	it.each<readonly [string, string, Adapter, RankRule]>([
		['rank 0', 'E_RANK', adapterOf([]), { kind: 'rank', rank: 0 }],
		['a ratio below 1', 'E_RANK', adapterOf([]), { kind: 'sv-ratio', value: 0.5 }],
		['a share above 1', 'E_RANK', adapterOf([]), { kind: 'sv-fro', value: 1.5 }],
		[
			'an adapter without products',
			'E_EMPTY_ADAPTER',
			adapterOf([moduleOf('norm', { w_norm: f32([2], [1, 2]) })]),
			{ kind: 'rank', rank: 1 },
		],
		[
			'NaN',
			'E_NONFINITE',
			adapterOf([moduleOf('lora', { up: f32([2, 2], [1, Number.NaN, 0, 1]), down: f32([2, 2], [1, 0, 0, 1]) }, { path: 'a.b' })]),
			{ kind: 'rank', rank: 1 },
		],
		[
			'values that float16 cannot hold',
			'E_NONFINITE',
			adapterOf([moduleOf('lora', { up: f32([2, 2], [1e10, 0, 0, 1]), down: f32([2, 2], [1e10, 0, 0, 1]) }, { path: 'a.b' })]),
			{ kind: 'rank', rank: 1 },
		],
		[
			'a scaling that was not read',
			'E_LORA_ALPHA',
			adapterOf([lora('x', 4, { rule: 'unread', scaling: Number.NaN })]),
			{ kind: 'rank', rank: 1 },
		],
	])('refuses %s', async (_, code, adapter, rule) => {
		await expect(resizeAdapter(adapter, { rule, dtype: 'F16' })).rejects.toMatchObject({ name: 'FormatError', code });
	});
});

describe('chooseRank', () => {
	const s = Float64Array.of(8, 4, 2, 1);
	it.each<readonly [RankRule, number, number]>([
		[{ kind: 'rank', rank: 3 }, 9, 3],
		[{ kind: 'rank', rank: 9 }, 9, 4],
		// 8, 4 are above 8 / 4; one more is kept.
		[{ kind: 'sv-ratio', value: 4 }, 9, 3],
		[{ kind: 'sv-ratio', value: 4 }, 2, 2],
		// 12 of 15 reach 0.8.
		[{ kind: 'sv-cumulative', value: 0.8 }, 9, 3],
		// 64 of 85 reach 0.86^2.
		[{ kind: 'sv-fro', value: 0.86 }, 9, 2],
		[{ kind: 'sv-fro', value: 1 }, 9, 4],
	])('%o capped at %i keeps %i', (rule, cap, rank) => {
		expect(chooseRank(s, rule, { shorter: 9, cap })).toBe(rank);
	});
});

describe('ranksForSize', () => {
	it('buys the largest energy per byte', () => {
		const modules = [
			{ values: Float64Array.of(9, 3, 1), bytesPerRank: 10, cap: 3 },
			{ values: Float64Array.of(9, 4, 4), bytesPerRank: 20, cap: 3 },
			{ values: Float64Array.of(1, 0), bytesPerRank: 1, cap: 2 },
		];
		// After 31 for rank 1: gains per byte 0.9, 0.1 | 0.8, 0.8 | nothing for the zero.
		expect(ranksForSize(modules, 30)).toBeUndefined();
		expect(ranksForSize(modules, 31)).toEqual([1, 1, 1]);
		expect(ranksForSize(modules, 41)).toEqual([2, 1, 1]);
		expect(ranksForSize(modules, 61)).toEqual([2, 2, 1]);
		expect(ranksForSize(modules, 1000)).toEqual([3, 3, 1]);
	});
});
