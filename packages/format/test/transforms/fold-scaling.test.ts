import { describe, expect, it } from 'vitest';
import type { Family, Role, TargetModule } from '../../src/adapter.js';
import { deltaOf } from '../../src/families/index.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../src/half.js';
import { bytesTensor, originsOf, type Tensor } from '../../src/tensor.js';
import { foldCounts, foldScaling } from '../../src/transforms/fold-scaling.js';
import { f32, f64, moduleOf } from '../families/helpers.js';
import { adapterOf } from '../support/small-adapter.js';

function fold(module: TargetModule, dtype?: WritableFloat): TargetModule {
	const [out] = foldScaling(adapterOf([module]), { dtype }).modules;
	if (out === undefined) throw new Error('no module');
	return out;
}

async function numbers(tensor: Tensor | undefined): Promise<number[]> {
	if (tensor === undefined) throw new Error('no tensor');
	return [...decodeFloats(tensor.dtype, await tensor.read())];
}

function of(dtype: 'F16' | 'BF16' | 'F32', data: readonly number[], origin?: string): Tensor {
	return bytesTensor(dtype, [data.length, 1], encodeFloats(dtype, Float64Array.from(data)), origin);
}

const scaled = { scaling: 0.5, rule: 'alpha/rank', alpha: 1, alphaSource: 'tensor' } as const;

describe('foldScaling', () => {
	it('puts the scaling into up and leaves no alpha', async () => {
		const alphaTensor = f32([], [1], 'm.alpha');
		const down = f32([2, 2], [1, 2, 3, 4], 'm.down');
		const out = fold(moduleOf('lora', { up: f32([1, 2], [3, -5], 'm.up'), down, up_bias: f32([1], [8]) }, { ...scaled, alphaTensor }));
		expect(await numbers(out.factors.up)).toEqual([1.5, -2.5]);
		expect(await numbers(out.factors.up_bias)).toEqual([4]);
		expect(out.factors.down).toBe(down);
		expect(out).toMatchObject({ alpha: null, alphaSource: 'none', alphaTensor: undefined, rule: 'one', scaling: 1 });
		expect(out.factors.up?.derivation).toMatchObject({ how: 'scaling 0.5 folded in', errorBound: 0 });
		expect([...originsOf(out.factors.up ?? down)].sort()).toEqual(['m.alpha', 'm.up']);
	});

	it.each([
		['F16', 2 ** -11 + 2 ** -53, undefined],
		['BF16', 2 ** -8 + 2 ** -53, 2 ** -8 + 2 ** -53],
		['F32', 2 ** -24 + 2 ** -53, 2 ** -24 + 2 ** -53],
	] as const)('%s: rounds once, within half a unit in the last place', async (dtype, bound, stated) => {
		const data = Array.from({ length: 300 }, (_, i) => Math.sin(i + 1));
		const up = of(dtype, data);
		const out = fold(moduleOf('lora', { up, down: of(dtype, [1]) }, { ...scaled, scaling: 1 / 3 }));
		expect(out.factors.up?.dtype).toBe(dtype);
		expect(out.factors.up?.derivation?.errorBound).toBe(stated);
		const before = await numbers(up);
		const after = await numbers(out.factors.up);
		after.forEach((x, i) => {
			const exact = (before[i] ?? 0) / 3;
			expect(Math.abs(x - exact)).toBeLessThanOrEqual(Math.abs(exact) * bound);
		});
	});

	it.each([
		['F32', 0.25, 0],
		['BF16', -2, 0],
		['F32', 0, 0],
		['BF16', 3, 2 ** -8 + 2 ** -53],
		['F16', 0.5, undefined],
	] as const)('%s by %d: bound %s', (dtype, scaling, bound) => {
		const module = moduleOf('lora', { up: of(dtype, [1]), down: of(dtype, [1]) }, { ...scaled, scaling });
		expect(fold(module).factors.up?.derivation?.errorBound).toBe(bound);
	});

	it('counts what a power of two can still lose', async () => {
		const tiny = of('F16', [2 ** -24, 3 * 2 ** -24, 60000, 1]);
		expect(await foldCounts(tiny, 0.5)).toEqual({ rounded: 2, underflow: 1, overflow: 0 });
		expect(await foldCounts(tiny, 2)).toEqual({ rounded: 1, underflow: 0, overflow: 1 });
		expect(await foldCounts(tiny, 2, { dtype: 'F32' })).toEqual({ rounded: 0, underflow: 0, overflow: 0 });
	});

	it('dtype F32 keeps what 16 bits would round', async () => {
		const out = fold(moduleOf('lora', { up: of('F16', [1]), down: of('F16', [1]) }, { ...scaled, scaling: 1 / 3 }), 'F32');
		expect(out.factors.up?.dtype).toBe('F32');
		expect(await numbers(out.factors.up)).toEqual([Math.fround(1 / 3)]);
	});

	it('scaling 1: same bytes, streamed as before, alpha accounted for', () => {
		const up = f32([1, 1], [1], 'm.up');
		const plain = fold(moduleOf('lora', { up, down: f32([1, 1], [1]) }));
		expect(plain.factors.up).toBe(up);
		const out = fold(moduleOf('lora', { up, down: f32([1, 1], [1]) }, { ...scaled, scaling: 1, alphaTensor: f32([], [1], 'm.alpha') }));
		expect([...originsOf(out.factors.up ?? up)].sort()).toEqual(['m.alpha', 'm.up']);
		expect(out.factors.up?.derivation?.errorBound).toBe(0);
	});

	const g = (...shape: readonly number[]): Tensor =>
		f64(
			shape,
			Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => ((i * 5) % 9) - 4),
		);
	const families: readonly (readonly [string, Family, Partial<Record<Role, Tensor>>])[] = [
		['lora', 'lora', { up: g(4, 2), down: g(2, 3) }],
		['locon', 'locon', { up: g(4, 2, 1, 1), mid: g(2, 2, 3, 3), down: g(2, 3, 1, 1) }],
		['loha', 'loha', { hada_w1_a: g(4, 2), hada_w1_b: g(2, 3), hada_w2_a: g(4, 2), hada_w2_b: g(2, 3) }],
		['lokr whole w1', 'lokr', { lokr_w1: g(2, 1), lokr_w2_a: g(2, 2), lokr_w2_b: g(2, 3) }],
		['lokr factored', 'lokr', { lokr_w1_a: g(2, 2), lokr_w1_b: g(2, 1), lokr_w2: g(2, 3) }],
		['glora', 'glora', { glora_a1: g(3, 2), glora_a2: g(2, 3), glora_b1: g(4, 2), glora_b2: g(2, 3) }],
		['glora old', 'glora', { glora_a2: g(3, 2), glora_a1: g(2, 3), glora_b2: g(4, 2), glora_b1: g(2, 3) }],
		['embedding', 'embedding', { embedding_down: g(2, 4), embedding_up: g(3, 2) }],
		['dora', 'lora', { up: g(4, 2), down: g(2, 3), magnitude: g(4) }],
	];
	it.each(families)('%s: the delta is the same, bit for bit, by a power of two', async (_name, family, factors) => {
		const module = moduleOf(family, factors, { ...scaled, magnitudeAxis: factors.magnitude === undefined ? undefined : 'out' });
		const base = { weight: Float64Array.from({ length: 12 }, (_, i) => i - 5.5), shape: [4, 3] };
		const options = family === 'locon' || family === 'embedding' ? {} : { base };
		expect(await deltaOf(fold(module), options)).toEqual(await deltaOf(module, options));
	});

	it('leaves families without a scaling alone', () => {
		for (const module of [
			moduleOf('full', { diff: g(2, 2) }, { rule: 'none' }),
			moduleOf('oft', { oft_blocks: g(2, 2, 2) }, { rule: 'constraint', alpha: 0.5 }),
			moduleOf('lokr', { lokr_w1: g(2, 2), lokr_w2: g(2, 2) }, { rule: 'none', alpha: 7 }),
		]) {
			expect(fold(module)).toBe(module);
		}
	});

	it('8-bit floats become F32', () => {
		const up = bytesTensor('F8_E4M3', [1, 1], Uint8Array.of(0x38));
		expect(fold(moduleOf('lora', { up, down: up }, { ...scaled, scaling: 3 })).factors.up?.dtype).toBe('F32');
	});

	it('refuses what was not read', () => {
		expect(() => fold(moduleOf('lora', { up: g(1, 1), down: g(1, 1) }, { rule: 'unread', scaling: Number.NaN }))).toThrowError(
			/cannot be folded/,
		);
	});
});
