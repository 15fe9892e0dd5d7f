import { describe, expect, it } from 'vitest';
import type { Embedding, Role, TargetModule } from '../../../src/adapter.js';
import { FormatError } from '../../../src/errors.js';
import type { Tensor } from '../../../src/tensor.js';
import { mergeAdapters } from '../../../src/transforms/merge/merge-adapters.js';
import type { MergeBase } from '../../../src/transforms/merge/merge-types.js';
import { verifyMerge } from '../../../src/transforms/merge/merge-verify.js';
import { f32, f64, moduleOf } from '../../families/helpers.js';
import { adapterOf, distance, dtypesOf, moduleAt, numbers, tensorOf, useOf, weightOf } from './merge-helpers.js';

const scaled = (alpha: number, rank: number): Partial<TargetModule> => ({
	alpha,
	rank,
	scaling: alpha / rank,
	rule: 'alpha/rank',
	alphaSource: 'tensor',
});
const lora = (up: Tensor, down: Tensor, more: Partial<TargetModule> = {}): TargetModule =>
	moduleOf('lora', { up, down }, { rank: down.shape[0], ...more });

const A = adapterOf([lora(f64([2, 1], [1, 2]), f64([1, 3], [1, 0, -1]), scaled(0.5, 1))]);
const B = adapterOf([lora(f64([2, 2], [3, 0, 1, 4]), f64([2, 3], [0, 1, 0, 2, 2, 2]), scaled(2, 2))]);

async function codeOf(promise: Promise<unknown>): Promise<string> {
	try {
		await promise;
	} catch (error) {
		if (error instanceof FormatError) return `${error.code}: ${error.message}`;
		throw error;
	}
	return 'no error';
}

describe('mergeAdapters: concat', () => {
	it('puts factors side by side, scalings in up, and says alpha = rank', async () => {
		const { adapter, modules, dtype } = await mergeAdapters([useOf(A, 'a', 0.5), useOf(B, 'b', -2)]);
		const m = moduleAt(adapter, 'x');
		expect(dtype).toBe('F64');
		expect(m.factors.up?.shape).toEqual([2, 3]);
		expect(await numbers(m.factors.up)).toEqual([0.25, -6, -0, 0.5, -2, -8]);
		expect(await numbers(m.factors.down)).toEqual([1, 0, -1, 0, 1, 0, 2, 2, 2]);
		expect(m).toMatchObject({ family: 'lora', rank: 3, alpha: 3, scaling: 1, rule: 'alpha/rank' });
		expect(modules).toEqual([
			{ component: 'unet', path: 'x', family: 'lora', inputs: ['a', 'b'], how: 'concat', rank: 3, sumOfRanks: 3, error: 0, truncation: 0 },
		]);
		// 0.5 * 0.5 * B A + -2 * B A, by hand.
		expect(await weightOf(m)).toEqual([0.25, -6, -0.25, -15.5, -18, -16.5]);
	});

	it('leaves out what has strength 0, and refuses when nothing is left', async () => {
		const result = await mergeAdapters([useOf(A, 'a', 0), useOf(B, 'b')]);
		expect(moduleAt(result.adapter, 'x').rank).toBe(2);
		expect(await codeOf(mergeAdapters([useOf(A, 'a', 0)]))).toMatch(/^E_EMPTY_ADAPTER/);
		expect(await codeOf(mergeAdapters([]))).toMatch(/^E_USAGE/);
	});

	it('keeps modules that one adapter alone has', async () => {
		const other = adapterOf([lora(f64([2, 1], [1, 1]), f64([1, 2], [5, 6]), { path: 'y' })]);
		const { adapter } = await mergeAdapters([useOf(A, 'a'), useOf(other, 'b', 2)]);
		expect(adapter.modules.map((m) => m.path)).toEqual(['x', 'y']);
		expect(await weightOf(moduleAt(adapter, 'y'))).toEqual([10, 12, 10, 12]);
	});

	it('merges a linear LoRA with the same 1 x 1 convolution', async () => {
		const conv = adapterOf([lora(f64([2, 1, 1, 1], [1, 1]), f64([1, 3, 1, 1], [1, 2, 3]))]);
		const { adapter } = await mergeAdapters([useOf(A, 'a', 2), useOf(conv, 'b')]);
		expect(moduleAt(adapter, 'x').factors.down?.shape).toEqual([2, 3, 1, 1]);
		expect(moduleAt(adapter, 'x').factors.up?.shape).toEqual([2, 2, 1, 1]);
	});

	it('adds whole differences, norms and biases', async () => {
		const whole = (by: number): readonly TargetModule[] => [
			moduleOf('full', { diff: f64([1, 2], [by, 2 * by]), diff_b: f64([1], [by]) }, { path: 'full', rule: 'none' }),
			moduleOf('norm', { w_norm: f64([2], [by, by]), b_norm: f64([2], [0, by]) }, { path: 'norm', rule: 'none' }),
			moduleOf(
				'lora',
				{ up: f64([1, 1], [by]), down: f64([1, 2], [1, 1]), up_bias: f64([1], [by]) },
				{ path: 'bias', rank: 1, alpha: 0.5, scaling: 0.5, rule: 'alpha/rank' },
			),
		];
		const { adapter } = await mergeAdapters([useOf(adapterOf(whole(1)), 'a', 2), useOf(adapterOf(whole(10)), 'b', -1)]);
		const full = moduleAt(adapter, 'full');
		expect([await numbers(full.factors.diff), await numbers(full.factors.diff_b)]).toEqual([[-8, -16], [-8]]);
		const norm = moduleAt(adapter, 'norm');
		expect(norm.family).toBe('norm');
		expect([await numbers(norm.factors.w_norm), await numbers(norm.factors.b_norm)]).toEqual([
			[-8, -8],
			[0, -8],
		]);
		expect(await numbers(moduleAt(adapter, 'bias').factors.up_bias)).toEqual([-4]);
	});

	it('makes a whole difference of LoRA and difference in one module', async () => {
		const diff = adapterOf([moduleOf('full', { diff: f64([2, 3], [1, 1, 1, 1, 1, 1]) }, { rule: 'none' })]);
		const { adapter } = await mergeAdapters([useOf(A, 'a'), useOf(diff, 'b', 0.5)]);
		const m = moduleAt(adapter, 'x');
		expect(m.family).toBe('full');
		expect(await numbers(m.factors.diff)).toEqual([1, 0.5, 0, 1.5, 0.5, -0.5]);
	});
});

describe('mergeAdapters: types', () => {
	const half = (alpha: number, ups: readonly number[] = [1, 2]): ReturnType<typeof adapterOf> =>
		adapterOf([lora(tensorOf('F16', [2, 1], ups), tensorOf('F16', [1, 2], [1, 3]), scaled(alpha, 1))]);

	it.each([
		['powers of two fold', [1, 0.5], [1, -2], undefined, 'F16', 2, 0],
		['an equal scaling stays in alpha', [0.7, 0.7], [1, 1], undefined, 'F16', 1.4, 2 ** -24],
		['different scalings need F32', [1, 1], [0.7, 0.4], undefined, 'F32', 2, 2 ** -24],
		['unless F16 is asked for', [1, 1], [0.7, 0.4], 'F16', 'F16', 2, 2 ** -10],
		['or BF16', [1, 1], [0.7, 0.4], 'BF16', 'BF16', 2, 2 ** -7],
		['or F64', [1, 1], [0.7, 0.4], 'F64', 'F64', 2, 2 ** -52],
	] as const)('%s', async (_, alphas, scales, asked, expected, alpha, bound) => {
		const result = await mergeAdapters([useOf(half(alphas[0]), 'a', scales[0]), useOf(half(alphas[1]), 'b', scales[1])], { dtype: asked });
		expect([...dtypesOf(result.adapter)]).toEqual([expected]);
		const m = moduleAt(result.adapter, 'x');
		expect(m.alpha).toBe(alpha);
		expect(result.largestError).toBeLessThanOrEqual(bound);
		expect(result.largestError > 0).toBe(bound > 0);
		const k = alphas[0] * scales[0] + alphas[1] * scales[1];
		expect(distance(await weightOf(m), [k, 3 * k, 2 * k, 6 * k])).toBeLessThanOrEqual(2 * bound + 1e-15);
		expect(result.notes.length).toBe(expected === 'F32' ? 1 : 0);
	});

	it('alpha 0 is zeros, said with alpha = rank', async () => {
		const { adapter, dtype } = await mergeAdapters([useOf(half(0), 'a', 0.7)]);
		expect(dtype).toBe('F16');
		expect(moduleAt(adapter, 'x').alpha).toBe(1);
		expect(await numbers(moduleAt(adapter, 'x').factors.up)).toEqual([0, 0]);
	});

	it('a power of two that leaves the range of half precision does not fold', async () => {
		const small = half(2 ** -7, [1.0009765625 * 2 ** -14, 1]);
		const { adapter, dtype } = await mergeAdapters([useOf(small, 'a'), useOf(half(1), 'b')]);
		expect(dtype).toBe('F32');
		expect((await numbers(moduleAt(adapter, 'x').factors.up))[0]).toBe(1.0009765625 * 2 ** -21);
	});

	it('F16 and BF16 together are F32, and what is carried too', async () => {
		const bf = adapterOf([lora(tensorOf('BF16', [2, 1], [1, 2]), tensorOf('BF16', [1, 2], [1, 3]))]);
		const lone = adapterOf([
			moduleOf('ia3', { ia3_weight: tensorOf('F16', [2], [1, 2]), on_input: f32([], [0]) }, { path: 'ia3', rule: 'none' }),
		]);
		const { adapter } = await mergeAdapters([useOf(half(1), 'a'), useOf(bf, 'b'), useOf(lone, 'c', 0.5)]);
		expect([...dtypesOf(adapter)]).toEqual(['F32']);
		expect(await numbers(moduleAt(adapter, 'ia3').factors.ia3_weight)).toEqual([0.5, 1]);
	});

	it('refuses what F16 cannot hold and factors that are not finite, naming the module', async () => {
		const big = adapterOf([lora(tensorOf('F32', [2, 1], [60000, 1]), tensorOf('F32', [1, 2], [1, 1]))]);
		expect(await codeOf(mergeAdapters([useOf(big, 'a', 2), useOf(big, 'b', 1)], { dtype: 'F16' }))).toBe(
			'E_NONFINITE: unet x would hold 120000, which F16 cannot say; merge with --dtype f32.',
		);
		const nan = adapterOf([lora(tensorOf('F32', [2, 1], [Number.NaN, 1]), tensorOf('F32', [1, 2], [1, 1]))]);
		expect(await codeOf(mergeAdapters([useOf(A, 'a', 1), useOf(nan, 'bad')]))).toMatch(/^E_NONFINITE: bad: unet x has NaN/);
	});

	it('says how much becomes 0', async () => {
		const tiny = adapterOf([lora(tensorOf('F32', [2, 1], [1e-9, 1]), tensorOf('F32', [1, 2], [1, 1]))]);
		const { warnings } = await mergeAdapters([useOf(tiny, 'a')], { dtype: 'F16' });
		expect(warnings.map((w) => w.code)).toEqual(['W_UNDERFLOW']);
	});
});

describe('mergeAdapters: other families', () => {
	const loha = moduleOf(
		'loha',
		{
			hada_w1_a: f64([2, 1], [1, 2]),
			hada_w1_b: f64([1, 3], [1, 2, 3]),
			hada_w2_a: f64([2, 1], [3, 1]),
			hada_w2_b: f64([1, 3], [1, -1, 1]),
		},
		{ rank: 1, alpha: 2, scaling: 2, rule: 'alpha/rank' },
	);

	it('alone it stays as it is, the strength in alpha; expanded when asked', async () => {
		const as = await mergeAdapters([useOf(adapterOf([loha]), 'a', 0.5)]);
		expect(moduleAt(as.adapter, 'x')).toMatchObject({ family: 'loha', alpha: 1, scaling: 1 });
		expect(as.modules[0]?.how).toBe('carried');
		const expanded = await mergeAdapters([useOf(adapterOf([loha]), 'a', 0.5)], { carry: 'lora' });
		expect(moduleAt(expanded.adapter, 'x').family).toBe('lora');
		expect(await weightOf(moduleAt(expanded.adapter, 'x'))).toEqual(await weightOf(loha, { strength: 0.5 }));
	});

	it('together with a LoRA it is expanded', async () => {
		const { adapter } = await mergeAdapters([useOf(A, 'a'), useOf(adapterOf([loha]), 'b', -1)]);
		const m = moduleAt(adapter, 'x');
		expect(m).toMatchObject({ family: 'lora', rank: 2 });
		const a = await weightOf(moduleAt(A, 'x'));
		const b = await weightOf(loha, { strength: -1 });
		expect(await weightOf(m)).toEqual(a.map((x, i) => x + (b[i] ?? 0)));
	});

	const dora = moduleOf(
		'lora',
		{ up: f64([2, 1], [1, 2]), down: f64([1, 2], [1, 0]), magnitude: f64([2, 1], [1, 2]) },
		{ rank: 1, magnitudeAxis: 'out' },
	);
	const base: MergeBase = {
		name: 'base',
		inventory: undefined,
		weightOf: async (_, path) => (path === 'x' ? { weight: Float64Array.of(1, 2, 3, 4), shape: [2, 2] } : undefined),
	};

	it('DoRA alone at full strength is carried; else it needs the base', async () => {
		const carried = await mergeAdapters([useOf(adapterOf([dora]), 'a')]);
		expect(moduleAt(carried.adapter, 'x').factors.magnitude).toBe(dora.factors.magnitude);
		expect(await codeOf(mergeAdapters([useOf(adapterOf([dora]), 'a', 0.5)]))).toMatch(
			/^E_BASE_MISMATCH: a: unet x is DoRA lora, whose delta depends on the weights of the base; give the base with --base\.$/,
		);
		const { adapter, warnings } = await mergeAdapters([useOf(adapterOf([dora]), 'a', 0.5)], { base });
		const m = moduleAt(adapter, 'x');
		expect(m.family).toBe('full');
		const expected = await weightOf(dora, { base: { weight: Float64Array.of(1, 2, 3, 4), shape: [2, 2] }, strength: 0.5 });
		expect(await numbers(m.factors.diff)).toEqual(expected);
		expect(warnings.map((w) => w.code)).toEqual(['W_NEEDS_BASE']);
	});

	it('with a rank what needs the base becomes a LoRA', async () => {
		const { adapter } = await mergeAdapters([useOf(adapterOf([dora]), 'a', 0.5)], { base, rank: 2 });
		const m = moduleAt(adapter, 'x');
		expect(m).toMatchObject({ family: 'lora', rank: 2 });
		const expected = await weightOf(dora, { base: { weight: Float64Array.of(1, 2, 3, 4), shape: [2, 2] }, strength: 0.5 });
		expect(distance(await weightOf(m), expected)).toBeLessThan(1e-14);
	});

	it('refuses a module that the base lacks', async () => {
		const far = { ...dora, path: 'y' };
		expect(await codeOf(mergeAdapters([useOf(adapterOf([far]), 'a', 0.5)], { base }))).toMatch(
			/^E_MODULE_NOT_IN_BASE: unet y of a is not in base/,
		);
	});
});

describe('mergeAdapters: truncation', () => {
	const C = adapterOf([lora(f64([3, 2], [1, 0, 0, 1, 0, 0]), f64([2, 3], [3, 0, 0, 0, 4, 0]))]);

	it('keeps the largest singular values and says what is lost', async () => {
		const { adapter, modules, warnings } = await mergeAdapters([useOf(C, 'c')], { rank: 1 });
		const m = moduleAt(adapter, 'x');
		expect(m).toMatchObject({ rank: 1, alpha: 1, scaling: 1 });
		// Singular values 4 and 3: what is left of diag(3, 4, 0) is 4 at (2, 2).
		expect(distance(await weightOf(m), [0, 0, 0, 0, 4, 0, 0, 0, 0])).toBeLessThan(1e-15);
		expect(modules[0]?.truncation).toBeCloseTo(3 / 5, 14);
		expect(modules[0]?.error).toBeCloseTo(3 / 5, 14);
		expect(warnings[0]).toMatchObject({ code: 'W_TRUNCATED_RANK' });
		expect(warnings[0]?.message).toContain('60.0 %');
	});

	it('keeps everything where the rank suffices', async () => {
		const { modules } = await mergeAdapters([useOf(C, 'c'), useOf(C, 'd', 2)], { rank: 8 });
		expect(modules[0]).toMatchObject({ truncation: 0 });
		expect(modules[0]?.error).toBeLessThan(1e-15);
	});

	it('parts that cancel out leave zeros, not the rounding of doubles', async () => {
		// Rank 4 twice, of numbers whose products and sums round: the first minus itself.
		const wave = (n: number, f: number): number[] => Array.from({ length: n }, (_, i) => Math.sin(f * (i + 1) ** 2) / 3);
		const one = adapterOf([lora(f64([16, 4], wave(64, 1.7)), f64([4, 16], wave(64, 2.3)))]);
		const uses = [useOf(one, 'a', 0.7), useOf(one, 'b', -0.7)];
		for (const dtype of ['F64', 'F16'] as const) {
			const result = await mergeAdapters(uses, { rank: 4, dtype });
			expect(result.modules).toMatchObject([{ how: 'svd', rank: 1, error: 0, truncation: 0 }]);
			expect(await weightOf(moduleAt(result.adapter, 'x'))).toEqual(new Array(256).fill(0));
			expect(result.warnings).toEqual([]);
			expect(await verifyMerge(uses, { rank: 4, dtype }, result.method, result.adapter)).toMatchObject({ modules: 1, largest: 0 });
		}
		// What is left beside a pair that cancels out is still right, and has no more rank than it has.
		const other = adapterOf([lora(f64([16, 4], wave(64, 0.9)), f64([4, 16], wave(64, 1.1)))]);
		const rest = [useOf(one, 'a'), useOf(other, 'b', 1000), useOf(other, 'c', -1000)];
		const { adapter, modules, method } = await mergeAdapters(rest, { rank: 8 });
		expect(modules).toMatchObject([{ rank: 4 }]);
		expect(distance(await weightOf(moduleAt(adapter, 'x')), await weightOf(moduleAt(one, 'x')))).toBeLessThan(1e-12);
		expect((await verifyMerge(rest, { rank: 8 }, method, adapter)).largest).toBeLessThan(1e-6);
	});

	it('rank "full" alone makes whole differences of the sum', async () => {
		const { adapter, modules, method } = await mergeAdapters([useOf(A, 'a', 0.5), useOf(B, 'b', -2)], { rank: 'full' });
		expect(method).toBe('concat');
		expect(modules).toMatchObject([{ family: 'full', how: 'dense', rank: null, error: 0 }]);
		expect(await numbers(moduleAt(adapter, 'x').factors.diff)).toEqual([0.25, -6, -0.25, -15.5, -18, -16.5]);
	});

	it('a carried LoKr holds its scaling in a factor where the target has no alpha for it', async () => {
		const lokr = adapterOf([
			moduleOf('lokr', { lokr_w1: f64([1, 2], [1, 2]), lokr_w2: f64([2, 2], [1, 0, 3, 1]) }, { ...scaled(1, 4), rank: 4 }),
		]);
		const { adapter, modules } = await mergeAdapters([useOf(lokr, 'a', 0.5)], { carry: 'as-is', scaling: 'fold' });
		expect(modules).toMatchObject([{ family: 'lokr', how: 'carried', error: 0 }]);
		expect(moduleAt(adapter, 'x')).toMatchObject({ rule: 'one', scaling: 1, alpha: null });
		// [1 2] (x) [[1 0] [3 1]] / 8, by hand.
		expect(await weightOf(moduleAt(adapter, 'x'))).toEqual([0.125, 0, 0.25, 0, 0.375, 0.125, 0.75, 0.25]);
	});

	it('warns where side by side has more rank than a weight can have', async () => {
		const { warnings } = await mergeAdapters([useOf(C, 'c'), useOf(C, 'd', 2)]);
		expect(warnings.map((w) => w.code)).toEqual(['W_RANK']);
	});
});

describe('mergeAdapters: slerp', () => {
	it('is the two ends at 0 and 1, and the formula between orthogonal deltas', async () => {
		const one = adapterOf([lora(f64([2, 1], [2, 0]), f64([1, 2], [1, 0]))]);
		const two = adapterOf([lora(f64([2, 1], [0, 4]), f64([1, 2], [0, 1]))]);
		const at = async (t: number): Promise<number[]> =>
			weightOf(moduleAt((await mergeAdapters([useOf(one, 'a'), useOf(two, 'b')], { method: 'slerp', t })).adapter, 'x'));
		expect(distance(await at(0), [2, 0, 0, 0])).toBeLessThan(1e-15);
		expect(distance(await at(1), [0, 0, 0, 4])).toBeLessThan(1e-15);
		expect(distance(await at(0.5), [Math.SQRT2, 0, 0, 2 * Math.SQRT2])).toBeLessThan(1e-15);
		expect(await codeOf(mergeAdapters([useOf(one, 'a')], { method: 'slerp' }))).toMatch(/between two adapters, but 1/);
	});
});

describe('mergeAdapters: refusals', () => {
	it.each([
		[{ density: 0 }, /density/],
		[{ density: 1.5 }, /density/],
		[{ rank: 0 }, /^E_RANK/],
		[{ rank: 1.5 }, /^E_RANK/],
		[{ method: 'concat', rank: 4 }, /concat keeps every rank/],
		[{ method: 'linear', on: 'delta' }, /linear mixes the factors/],
		[{ method: 'slerp', t: 2 }, /t must be/],
		[{ on: 'factors', method: 'svd' }, /svd works on deltas/],
		[{ seed: 0.5 }, /seed/],
	] as const)('%j', async (options, message) => {
		expect(await codeOf(mergeAdapters([useOf(A, 'a'), useOf(B, 'b')], options))).toMatch(message);
	});

	it('shapes that do not fit, ranks on factors, bases that differ, unknown tensors', async () => {
		const wide = adapterOf([lora(f64([2, 1], [1, 1]), f64([1, 4], [1, 1, 1, 1]))]);
		expect(await codeOf(mergeAdapters([useOf(A, 'a'), useOf(wide, 'b')]))).toBe(
			'E_LORA_SHAPE: unet x is (2, 3) in a and (2, 4) in b; adapters of different models cannot be merged.',
		);
		expect(await codeOf(mergeAdapters([useOf(A, 'a'), useOf(wide, 'b')], { method: 'ties' }))).toMatch(/^E_LORA_SHAPE/);
		expect(await codeOf(mergeAdapters([useOf(A, 'a'), useOf(B, 'b')], { method: 'linear' }))).toMatch(/^E_LORA_RANK/);
		const sd1 = { ...A, base: { family: 'sd1', label: 'SD 1', confidence: 1, evidence: [] } };
		const xl = { ...B, base: { family: 'sdxl', label: 'SDXL', confidence: 1, evidence: [] } };
		expect(await codeOf(mergeAdapters([useOf(sd1, 'a'), useOf(xl, 'b')]))).toMatch(/^E_BASE_MISMATCH: "a" is for SD 1 and "b" is for SDXL/);
		const odd = { ...A, unknown: new Map([['what', f32([1], [1])]]) };
		expect(await codeOf(mergeAdapters([useOf(odd, 'a')]))).toMatch(/^E_UNKNOWN_KEY/);
		expect((await mergeAdapters([useOf(odd, 'a')], { allowUnknown: true })).warnings.map((w) => w.code)).toEqual(['W_UNKNOWN_KEY']);
	});
});

describe('mergeAdapters: what travels with it', () => {
	const token = (name: string, values: readonly number[]): Embedding => ({
		token: name,
		slot: '',
		component: 'text_encoder',
		vectors: f32([values.length], values),
	});
	const withTokens = (...embeddings: Embedding[]) => ({ ...A, embeddings });

	it('carries embeddings; the same token twice is a choice', async () => {
		const one = withTokens(token('<s>', [1, 2]), token('<same>', [5]));
		const two = withTokens(token('<s>', [3, 4]), token('<same>', [5]), token('<t>', [6]));
		const merge = (embeddings?: 'first' | 'last' | 'rename') => mergeAdapters([useOf(one, 'a'), useOf(two, 'b')], { embeddings });
		expect(await codeOf(merge())).toMatch(/^E_NAME_COLLISION: "a" and "b" both have the token "<s>"/);
		const names = async (choice: 'first' | 'last' | 'rename') => (await merge(choice)).adapter.embeddings;
		expect((await names('rename')).map((e) => e.token)).toEqual(['<s>', '<same>', '<s>_2', '<t>']);
		expect((await names('first')).map((e) => e.token)).toEqual(['<s>', '<same>', '<t>']);
		expect(await numbers((await names('first'))[0]?.vectors)).toEqual([1, 2]);
		expect(await numbers((await names('last'))[0]?.vectors)).toEqual([3, 4]);
	});

	it('keeps the headers apart, adds tags up, joins trigger words', async () => {
		const one = {
			...A,
			metadata: new Map([
				['ss_v2', 'False'],
				['ss_seed', '1'],
				['ss_network_dim', '1'],
				['ss_tag_frequency', '{"10_a":{"cat":2}}'],
				['modelspec.trigger_phrase', 'aaa'],
				['sshs_model_hash', 'x'],
			]),
		};
		const two = {
			...B,
			metadata: new Map([
				['ss_v2', 'False'],
				['ss_seed', '2'],
				['ss_tag_frequency', '{"10_a":{"cat":3},"5_b":{"dog":1}}'],
				['modelspec.trigger_phrase', 'bbb, aaa'],
			]),
		};
		const { metadata } = (await mergeAdapters([useOf(one, 'loras/a.safetensors'), useOf(two, 'b')])).adapter;
		expect(metadata.get('ss_v2')).toBe('False');
		expect(metadata.has('ss_seed')).toBe(false);
		expect(metadata.get('lorakit.merged.a.safetensors.ss_seed')).toBe('1');
		expect(metadata.get('lorakit.merged.b.ss_seed')).toBe('2');
		expect(metadata.get('ss_network_dim')).toBe('3');
		expect(JSON.parse(metadata.get('ss_tag_frequency') ?? '')).toEqual({ '10_a': { cat: 5 }, '5_b': { dog: 1 } });
		expect(metadata.get('modelspec.trigger_phrase')).toBe('aaa, bbb');
		expect(metadata.get('modelspec.merged_from')).toBe('a.safetensors, b');
		expect(metadata.has('sshs_model_hash')).toBe(false);
	});

	it('puts modules of two namings together', async () => {
		const width = 4;
		const fused = lora(
			f64(
				[3 * width, 1],
				Array.from({ length: 3 * width }, (_, i) => i),
			),
			f64([1, width], [1, 2, 3, 4]),
			{ component: 'transformer', path: 'double_blocks.0.img_attn.qkv' },
		);
		const part = lora(f64([width, 1], [1, 1, 1, 1]), f64([1, width], [1, 0, 0, 0]), {
			component: 'transformer',
			path: 'transformer_blocks.0.attn.to_k',
		});
		const { adapter } = await mergeAdapters([
			useOf(adapterOf([fused], { naming: 'bfl' }), 'bfl'),
			useOf(adapterOf([part]), 'diffusers', 2),
		]);
		expect(adapter.naming).toBe('diffusers');
		const k = moduleAt(adapter, 'transformer_blocks.0.attn.to_k');
		expect(k.rank).toBe(2);
		expect(await weightOf(k)).toEqual([6, 8, 12, 16, 7, 10, 15, 20, 8, 12, 18, 24, 9, 14, 21, 28]);
		expect(adapter.modules.map((m) => m.rank)).toEqual([1, 2, 1]);
	});

	it('knows a flattened name by another adapter', async () => {
		const flat = adapterOf([lora(f64([2, 1], [1, 2]), f64([1, 3], [1, 0, -1]), { path: 'a_b_c', resolved: false })]);
		const real = adapterOf([lora(f64([2, 1], [1, 2]), f64([1, 3], [1, 0, -1]), { path: 'a.b_c' })]);
		const { adapter } = await mergeAdapters([useOf(flat, 'a'), useOf(real, 'b')]);
		expect(adapter.modules.map((m) => [m.path, m.resolved, m.rank])).toEqual([['a.b_c', true, 2]]);
	});

	it('does not depend on the order of modules where chance is in it', async () => {
		const roles = (path: string): TargetModule =>
			lora(f64([8, 1], [1, 2, 3, 4, 5, 6, 7, 8]), f64([1, 8], [1, 2, 3, 4, 5, 6, 7, 8]), { path });
		const options = { method: 'dare-linear', seed: 7, rank: 'full' } as const;
		const one = await mergeAdapters([useOf(adapterOf([roles('x'), roles('y')]), 'a')], options);
		const two = await mergeAdapters([useOf(adapterOf([roles('y')]), 'a')], options);
		const role: Role = 'diff';
		expect(await numbers(moduleAt(one.adapter, 'y').factors[role])).toEqual(await numbers(moduleAt(two.adapter, 'y').factors[role]));
		expect(await numbers(moduleAt(one.adapter, 'x').factors[role])).not.toEqual(await numbers(moduleAt(one.adapter, 'y').factors[role]));
	});
});
