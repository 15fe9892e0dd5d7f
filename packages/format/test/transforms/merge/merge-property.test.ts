import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Role, TargetModule } from '../../../src/adapter.js';
import { deltaOf, needsBase } from '../../../src/families/index.js';
import { decodeFloats, type WritableFloat } from '../../../src/half.js';
import type { Tensor } from '../../../src/tensor.js';
import { mergeAdapters } from '../../../src/transforms/merge/merge-adapters.js';
import { moduleOf } from '../../families/helpers.js';
import { adapterOf, dtypesOf, tensorOf, useOf } from './merge-helpers.js';

type Kind = 'lora' | 'conv' | 'locon' | 'loha' | 'lokr' | 'full' | 'dora';

const OUT = 4;
const IN = 6;

/** Numbers that every dtype holds, so that only what merging does is rounded. */
const value = fc.integer({ min: -64, max: 64 }).map((n) => n / 32);

function tensor(dtype: WritableFloat, shape: readonly number[]): fc.Arbitrary<Tensor> {
	const n = shape.reduce((p, d) => p * d, 1);
	return fc.array(value, { minLength: n, maxLength: n }).map((data) => tensorOf(dtype, shape, data));
}

function factorsOf(kind: Kind, dtype: WritableFloat, r: number): fc.Arbitrary<Partial<Record<Role, Tensor>>> {
	const t = (...shape: number[]): fc.Arbitrary<Tensor> => tensor(dtype, shape);
	switch (kind) {
		case 'lora':
			return fc.record({ up: t(OUT, r), down: t(r, IN) });
		case 'conv':
			return fc.record({ up: t(OUT, r, 1, 1), down: t(r, IN, 3, 3) });
		case 'locon':
			return fc.record({ up: t(OUT, r, 1, 1), down: t(r, IN, 1, 1), mid: t(r, r, 3, 3) });
		case 'loha':
			return fc.record({ hada_w1_a: t(OUT, r), hada_w1_b: t(r, IN), hada_w2_a: t(OUT, r), hada_w2_b: t(r, IN) });
		case 'lokr':
			return fc.record({ lokr_w1: t(2, 2), lokr_w2_a: t(OUT / 2, r), lokr_w2_b: t(r, IN / 2) });
		case 'full':
			return fc.record({ diff: t(OUT, IN) });
		default:
			return fc.record({ up: t(OUT, r), down: t(r, IN), magnitude: t(OUT, 1) });
	}
}

function moduleArb(kind: Kind): fc.Arbitrary<TargetModule> {
	return fc
		.record({
			dtype: fc.constantFrom<WritableFloat>('F16', 'BF16', 'F32', 'F64'),
			rank: fc.integer({ min: 1, max: 3 }),
			alpha: fc.constantFrom(0.5, 1, 1.5, 3, 0.1),
		})
		.chain(({ dtype, rank, alpha }) =>
			factorsOf(kind, dtype, rank).map((factors): TargetModule => {
				const family = kind === 'conv' || kind === 'dora' ? 'lora' : kind;
				const scaling = kind === 'full' ? {} : { rank, alpha, scaling: alpha / rank, rule: 'alpha/rank' as const };
				return moduleOf(family, factors, {
					...scaling,
					rule: kind === 'full' ? 'none' : 'alpha/rank',
					magnitudeAxis: kind === 'dora' ? 'out' : undefined,
				});
			}),
		);
}

const FLAT: readonly Kind[] = ['lora', 'loha', 'lokr', 'full', 'dora'];
const KERNEL: readonly Kind[] = ['conv', 'locon'];

const input = (kinds: readonly Kind[]) =>
	fc.record({ module: fc.constantFrom(...kinds).chain(moduleArb), scale: fc.constantFrom(1, 0.5, -2, 0.7, -0.4, 1.3) });
const inputs = fc.oneof(fc.array(input(FLAT), { minLength: 1, maxLength: 4 }), fc.array(input(KERNEL), { minLength: 1, maxLength: 4 }));

const BASE = { weight: Float64Array.from({ length: OUT * IN }, (_, i) => Math.sin(i + 1)), shape: [OUT, IN] };
const baseFor = (module: TargetModule): typeof BASE | undefined => (needsBase(module) ? BASE : undefined);
const base = { name: 'base', inventory: undefined, weightOf: async () => BASE };

/** Each adapter applied by itself, added up in the order of the command line. */
async function sumOf(
	parts: readonly { readonly module: TargetModule; readonly scale: number }[],
): Promise<{ readonly sum: Float64Array; readonly size: number }> {
	let sum: Float64Array | undefined;
	let size = 0;
	for (const { module, scale } of parts) {
		const { weight } = await deltaOf(module, { base: baseFor(module), strength: scale });
		const data = weight?.data ?? new Float64Array(0);
		sum = sum === undefined ? data.slice() : sum.map((x, i) => x + (data[i] ?? 0));
		for (const x of data) size = Math.max(size, Math.abs(x));
	}
	return { sum: sum ?? new Float64Array(0), size };
}

/** Largest difference of one element, relative to the largest number in the sum's terms. */
function worst(a: Float64Array, b: Float64Array, size: number): number {
	if (a.length !== b.length) return Number.POSITIVE_INFINITY;
	let most = 0;
	for (let i = 0; i < a.length; i++) most = Math.max(most, Math.abs((a[i] ?? Number.NaN) - (b[i] ?? 0)));
	return size > 0 ? most / size : most;
}

const uses = (parts: readonly { readonly module: TargetModule; readonly scale: number }[]) =>
	parts.map(({ module, scale }, i) => useOf(adapterOf([module]), `a${i}`, scale));

describe('merge of k adapters applied = the sum of each applied by itself', () => {
	it('to 1e-12 in float64', async () => {
		await fc.assert(
			fc.asyncProperty(inputs, async (parts) => {
				const { adapter } = await mergeAdapters(uses(parts), { base, dtype: 'F64' });
				const [module] = adapter.modules;
				if (module === undefined) throw new Error('no module');
				const { weight } = await deltaOf(module, { base: baseFor(module) });
				const { sum, size } = await sumOf(parts);
				expect(worst(weight?.data ?? new Float64Array(0), sum, size)).toBeLessThan(1e-12);
			}),
			{ numRuns: 300, seed: 1 },
		);
	});

	it.each([
		['F32', 2 ** -24],
		['F16', 2 ** -11],
		['BF16', 2 ** -8],
	] as const)('to one rounding step of each stored number in %s, and the stated error is the true one', async (dtype, half) => {
		await fc.assert(
			fc.asyncProperty(inputs, async (parts) => {
				const { adapter, modules } = await mergeAdapters(uses(parts), { base, dtype });
				const [module] = adapter.modules;
				const [report] = modules;
				if (module === undefined || report === undefined) throw new Error('no module');
				expect([...dtypesOf(adapter)]).toEqual([dtype]);
				const { weight } = await deltaOf(module, { base: baseFor(module) });
				const { sum } = await sumOf(parts);
				const data = weight?.data ?? new Float64Array(0);
				// Every stored number within half a step, so every product of two within two halves; |terms| bounds what cancels.
				const bound = await absoluteBound(module, half);
				for (let i = 0; i < sum.length; i++) expect(Math.abs((data[i] ?? 0) - (sum[i] ?? 0))).toBeLessThanOrEqual((bound[i] ?? 0) + 1e-13);
				if (report.how === 'carried' || report.error === null) return;
				let [off, whole] = [0, 0];
				for (let i = 0; i < sum.length; i++) {
					off += ((data[i] ?? 0) - (sum[i] ?? 0)) ** 2;
					whole += (sum[i] ?? 0) ** 2;
				}
				const measured = whole > 0 ? Math.sqrt(off / whole) : 0;
				// Alpha that is left to the file may be rounded to F32 there, which the report counts and the doubles here have not.
				expect(Math.abs(report.error - measured)).toBeLessThanOrEqual(1e-6 * measured + 2 ** -23 + 1e-13);
			}),
			{ numRuns: 150, seed: 2 },
		);
	});

	it('without --dtype nothing is rounded but what F32 must round', async () => {
		await fc.assert(
			fc.asyncProperty(inputs, async (parts) => {
				const { adapter } = await mergeAdapters(uses(parts), { base });
				const [module] = adapter.modules;
				if (module === undefined) throw new Error('no module');
				const { weight } = await deltaOf(module, { base: baseFor(module) });
				const { sum } = await sumOf(parts);
				const bound = await absoluteBound(module, 2 ** -24);
				const data = weight?.data ?? new Float64Array(0);
				for (let i = 0; i < sum.length; i++) expect(Math.abs((data[i] ?? 0) - (sum[i] ?? 0))).toBeLessThanOrEqual((bound[i] ?? 0) + 1e-13);
			}),
			{ numRuns: 150, seed: 3 },
		);
	});
});

/** For each element: what half a step in every stored factor can do to it, (1 + half)^k - 1 times the sum of the terms' magnitudes. */
async function absoluteBound(module: TargetModule, half: number): Promise<Float64Array> {
	if (module.factors.magnitude !== undefined) return (await sumOf([{ module, scale: 1 }])).sum.map(() => 16 * half);
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, t] of Object.entries(module.factors) as [Role, Tensor][]) {
		const values = decodeFloats(t.dtype, await t.read());
		factors[role] = tensorOf('F64', t.shape, [...values].map(Math.abs));
	}
	const { weight } = await deltaOf({ ...module, factors, scaling: Math.abs(module.scaling) });
	const steps = (1 + half) ** Object.keys(factors).length - 1;
	return (weight?.data ?? new Float64Array(0)).map((x) => x * steps * 1.01);
}
