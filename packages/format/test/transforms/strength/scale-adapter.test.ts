import { describe, expect, it } from 'vitest';
import type { Family, Role, TargetModule } from '../../../src/adapter.js';
import { FormatError } from '../../../src/errors.js';
import { deltaOf, needsBase } from '../../../src/families/index.js';
import type { Tensor } from '../../../src/tensor.js';
import { scaleAdapter } from '../../../src/transforms/strength/scale-adapter.js';
import { f32, f64, moduleOf } from '../../families/helpers.js';
import { adapterOf, distance, moduleAt, numbers, tensorOf } from '../merge/merge-helpers.js';

const by = (scale: number) => ({ scale, components: new Map<string, number>(), blocks: undefined });
const BASE = { weight: Float64Array.of(1, -2, 3, 4), shape: [2, 2], bias: Float64Array.of(1, 2) };

const ALPHA = { rank: 2, alpha: 1, scaling: 0.5, rule: 'alpha/rank', alphaSource: 'tensor', alphaTensor: f32([], [1]) } as const;
const a = f64([2, 2], [1, 2, 3, 4]);
const b = f64([2, 2], [0, -1, 5, 2]);

const CASES: readonly (readonly [string, Family, Partial<Record<Role, Tensor>>, Partial<TargetModule>, folded: number])[] = [
	['LoRA', 'lora', { up: a, down: b }, ALPHA, 0],
	['LoRA without alpha', 'lora', { up: a, down: b }, { rank: 2 }, 0],
	['LoRA with a bias', 'lora', { up: a, down: b, up_bias: f64([2], [1, 2]) }, ALPHA, 0],
	['LoRA with rsLoRA', 'lora', { up: a, down: b }, { rank: 2, alpha: 2, scaling: Math.SQRT2, rule: 'alpha/sqrt(rank)' }, 0],
	['LoRA with .scale', 'lora', { up: a, down: b }, { rank: 2, scaling: 3, rule: 'scale-tensor', scaleTensor: f32([], [3]) }, 0],
	['LoHa', 'loha', { hada_w1_a: a, hada_w1_b: b, hada_w2_a: b, hada_w2_b: a }, ALPHA, 0],
	['LoKr with whole factors', 'lokr', { lokr_w1: f64([1, 2], [1, 2]), lokr_w2: f64([2, 1], [3, 4]) }, { rule: 'none' }, 1],
	['full', 'full', { diff: a, diff_b: f64([2], [1, 2]) }, { rule: 'none' }, 1],
	['norm', 'norm', { w_norm: f64([2], [1, 2]), b_norm: f64([2], [3, 4]) }, { rule: 'none' }, 1],
	['IA3', 'ia3', { ia3_weight: f64([2], [1, 2]), on_input: f32([], [0]) }, { rule: 'none' }, 1],
	['IA3 of PEFT', 'peft-ia3', { ia3_l: f64([2, 1], [0.5, 2]) }, { rule: 'none' }, 1],
	['GLoRA', 'glora', { glora_a1: a, glora_a2: b, glora_b1: a, glora_b2: a }, { ...ALPHA }, 0],
];

describe('scaleAdapter', () => {
	it.each(CASES)('%s: the delta is multiplied', async (_, family, factors, more, folded) => {
		const module = moduleOf(family, factors, more);
		for (const how of ['alpha', 'fold'] as const) {
			const result = scaleAdapter(adapterOf([module]), by(-0.75), { how });
			const scaled = moduleAt(result.adapter, 'x');
			const base = needsBase(module) ? BASE : undefined;
			const [before, after] = [await deltaOf(module, { base }), await deltaOf(scaled, { base })];
			for (const part of ['weight', 'bias'] as const) {
				const expected = [...(before[part]?.data ?? [])].map((x) => -0.75 * x);
				expect(distance([...(after[part]?.data ?? [])], expected)).toBeLessThan(1e-15);
			}
			if (how === 'alpha') expect([result.changed, result.folded]).toEqual([1, folded]);
		}
	});

	it('through alpha no factor is touched, and alpha keeps its type where that is exact', async () => {
		const half = moduleOf('lora', { up: a, down: b }, { ...ALPHA, alpha: 4, scaling: 2, alphaTensor: tensorOf('F16', [], [4]) });
		const exact = moduleAt(scaleAdapter(adapterOf([half]), by(0.5)).adapter, 'x');
		expect(exact.factors).toEqual(half.factors);
		expect(exact.factors.up).toBe(a);
		expect([exact.alphaTensor?.dtype, await numbers(exact.alphaTensor), exact.alpha]).toEqual(['F16', [2], 2]);
		const rounded = moduleAt(scaleAdapter(adapterOf([half]), by(0.7)).adapter, 'x');
		expect([rounded.alphaTensor?.dtype, await numbers(rounded.alphaTensor)]).toEqual(['F32', [Math.fround(2.8)]]);
		expect(rounded.alphaTensor?.derivation?.errorBound).toBeGreaterThan(0);
	});

	it('leaves other components alone, and says when nothing changes', () => {
		const modules = [
			moduleOf('lora', { up: a, down: b }, { ...ALPHA }),
			moduleOf('lora', { up: a, down: b }, { ...ALPHA, component: 'text_encoder', path: 'y' }),
		];
		const result = scaleAdapter(adapterOf(modules), { scale: 1, components: new Map([['text_encoder', 0]]), blocks: undefined });
		expect(result.changed).toBe(1);
		expect(result.adapter.modules[0]).toBe(modules[0]);
		expect(result.adapter.modules[1]?.scaling).toBe(0);
		expect(scaleAdapter(adapterOf(modules), by(1)).warnings).toHaveLength(1);
	});

	it.each([
		[
			'DoRA',
			moduleOf('lora', { up: a, down: b, magnitude: f64([2, 1], [1, 1]) }, { ...ALPHA }),
			'E_UNSUPPORTED_ADAPTER',
			/DoRA lora.*no file of it can say 0\.5/,
		],
		['OFT', moduleOf('oft', { oft_diag: f64([1, 2, 2], [0, 0, 0, 0]) }, { rule: 'constraint' }), 'E_UNSUPPORTED_ADAPTER', /is oft/],
		['unread alpha', moduleOf('lora', { up: a, down: b }, { rule: 'unread', scaling: Number.NaN }), 'E_LORA_ALPHA', /was not read/],
	])('refuses %s', (_, module, code, message) => {
		try {
			scaleAdapter(adapterOf([module]), by(0.5));
			expect.unreachable();
		} catch (error) {
			expect(error).toBeInstanceOf(FormatError);
			expect(error).toMatchObject({ code });
			expect((error as FormatError).message).toMatch(message);
		}
	});
});
