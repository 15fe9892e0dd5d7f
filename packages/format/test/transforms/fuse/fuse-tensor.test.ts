import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Family, Role, TargetModule } from '../../../src/adapter.js';
import { deltaOf, needsBase } from '../../../src/families/index.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../../src/half.js';
import { bytesTensor, type Tensor } from '../../../src/tensor.js';
import { fusedTensor, fuseTensor } from '../../../src/transforms/fuse/fuse-tensor.js';
import { planFuse } from '../../../src/transforms/fuse/plan-fuse.js';
import type { TouchedTensor } from '../../../src/transforms/fuse/touched-tensor.js';
import { countOf, floats, folder, useOf, valuesOf } from '../../bases/helpers.js';
import { moduleOf } from '../../families/helpers.js';

const PATH = 'down_blocks.0.resnets.0.conv1';
const FLOATS: readonly WritableFloat[] = ['F16', 'BF16', 'F32', 'F64'];

type Shapes = Partial<Record<Role, readonly number[]>>;

/** Factor shapes of a family for a weight (6, 4, k, k) and a rank. */
function shapesOf(kind: string, k: number, r: number): readonly [Family, Shapes, ('in' | 'out')?] {
	const kernel = k === 1 ? [] : [k, k];
	const ones = k === 1 ? [] : [1, 1];
	switch (kind) {
		case 'locon':
			return ['locon', { up: [6, r, ...ones], mid: [r, r, k, k], down: [r, 4, ...ones] }];
		case 'loha':
			return ['loha', { hada_w1_a: [6, r], hada_w1_b: [r, 4 * k * k], hada_w2_a: [6, r], hada_w2_b: [r, 4 * k * k] }];
		case 'lokr':
			return ['lokr', { lokr_w1: [3, 2], lokr_w2: [2, 2, ...kernel] }];
		case 'dora':
			return ['lora', { up: [6, r, ...ones], down: [r, 4, ...kernel], magnitude: [6] }, 'out'];
		case 'dora-in':
			return ['lora', { up: [6, r, ...ones], down: [r, 4, ...kernel], magnitude: [1, 4] }, 'in'];
		case 'glora':
			return ['glora', { glora_a1: [4, r], glora_a2: [r, 4], glora_b1: [6, r], glora_b2: [r, 4 * k * k] }];
		case 'oft':
			return ['oft', { oft_blocks: [3, 2, 2] }];
		case 'ia3':
			return ['ia3', { ia3_weight: [6, 1], on_input: [] }];
		case 'full':
			return ['full', { diff: [6, 4, ...kernel] }];
		case 'whole':
			return ['whole', { weight: [6, 4, ...kernel] }];
		default:
			return ['lora', { up: [6, r, ...ones], down: [r, 4, ...kernel] }];
	}
}
const KINDS = ['lora', 'locon', 'loha', 'lokr', 'dora', 'dora-in', 'glora', 'oft', 'ia3', 'full', 'whole'];

function noise(seed: number): () => number {
	let x = (seed % 2147483647) + 1;
	return () => {
		x = (x * 48271) % 2147483647;
		return x / 1073741824 - 1;
	};
}

function moduleFor(kind: string, k: number, rank: number, dtype: WritableFloat, seed: number, scaling: number): TargetModule {
	const [family, shapes, axis] = shapesOf(kind, k, rank);
	const next = noise(seed);
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, shape] of Object.entries(shapes) as [Role, readonly number[]][]) {
		factors[role] = floats(dtype, shape, role === 'on_input' ? [0] : Array.from({ length: countOf(shape) }, next));
	}
	return moduleOf(family, factors, { path: PATH, scaling, magnitudeAxis: axis, rank });
}

describe('k adapters at once = base + the sum of their float64 deltas, rounded once', () => {
	it('for any families, ranks, dtypes and strengths, in every element', async () => {
		const adapter = fc.record({
			kind: fc.constantFrom(...KINDS),
			rank: fc.integer({ min: 1, max: 5 }),
			dtype: fc.constantFrom(...FLOATS),
			seed: fc.nat(1_000_000),
			scaling: fc.constantFrom(0.25, 1, -1.5, 1 / 3),
			strength: fc.constantFrom(1, 0.7, -0.4, 2),
		});
		await fc.assert(
			fc.asyncProperty(
				fc.array(adapter, { minLength: 1, maxLength: 4 }),
				fc.constantFrom(...FLOATS),
				fc.constantFrom(1, 3),
				fc.nat(1_000_000),
				async (adapters, dtype, k, seed) => {
					const shape = k === 1 ? [6, 4] : [6, 4, k, k];
					const values = Array.from({ length: countOf(shape) }, noise(seed));
					const base = folder({ unet: { [`${PATH}.weight`]: { shape, values } } }, dtype);
					const modules = adapters.map((a) => moduleFor(a.kind, k, a.rank, a.dtype, a.seed, a.scaling));
					const plan = await planFuse(
						base,
						modules.map((m, n) => useOf([m], { scale: adapters[n]?.strength ?? 1 })),
					);
					const stored = decodeFloats(dtype, encodeFloats(dtype, Float64Array.from(values)));
					const sum = new Float64Array(stored.length);
					for (const [n, module] of modules.entries()) {
						const strength = adapters[n]?.strength ?? 1;
						const { weight } = await deltaOf(module, { strength, shape, base: needsBase(module) ? { weight: stored, shape } : undefined });
						weight?.data.forEach((x, i) => {
							sum[i] = n === 0 ? x : (sum[i] ?? 0) + x;
						});
					}
					const expected = encodeFloats(
						dtype,
						stored.map((w, i) => w + (sum[i] ?? 0)),
					);
					const [touched] = plan.touched;
					if (touched === undefined) throw new Error('nothing is touched');
					expect(decodeFloats(dtype, await fusedTensor(touched).read())).toEqual(decodeFloats(dtype, expected));
				},
			),
			{ numRuns: 150 },
		);
	});
});

/** A touched tensor with a delta that is simply given. */
function touchedBy(tensor: Tensor, delta: readonly number[], blockRows = 1): TouchedTensor {
	const [file] = folder({ unet: { [`${PATH}.weight`]: { shape: [1] } } }).files;
	if (file === undefined) throw new Error('no file');
	const columns = delta.length / (tensor.shape[0] ?? 1);
	return {
		file,
		name: `${PATH}.weight`,
		tensor,
		modules: [`unet ${PATH}`],
		needsBase: false,
		blockRows,
		delta: async (from, to) => Float64Array.from(delta.slice(from * columns, to * columns)),
	};
}

describe('fuseTensor', () => {
	it.each<readonly [WritableFloat, number, number, number]>([
		// just above, on and just below the middle between two numbers: one rounding decides
		['F16', 1, 2 ** -11 + 2 ** -40, 1 + 2 ** -10],
		['F16', 1, 2 ** -11, 1],
		['F16', 1 + 2 ** -10, 2 ** -11, 1 + 2 ** -9],
		['BF16', 1, 2 ** -8 + 2 ** -40, 1 + 2 ** -7],
		['F32', 1, 2 ** -24 + 2 ** -50, 1 + 2 ** -23],
		['F64', 1, 2 ** -52, 1 + 2 ** -52],
	])('%s: %d + %d', async (dtype, base, delta, expected) => {
		const tensor = floats(dtype, [2, 1], [base, 0]);
		expect(await valuesOf(fusedTensor(touchedBy(tensor, [delta, 0])))).toEqual([expected, 0]);
	});

	it('leaves the base as it was', async () => {
		const tensor = floats('F32', [2], [1, 2]);
		await fusedTensor(touchedBy(tensor, [1, 1], 2)).read();
		expect(await valuesOf(tensor)).toEqual([1, 2]);
	});

	it('refuses what the stored type cannot hold, naming the module', async () => {
		const tensor = floats('F16', [2, 1], [1, 65504]);
		await expect(fusedTensor(touchedBy(tensor, [1, 100])).read()).rejects.toMatchObject({
			code: 'E_NONFINITE',
			message: expect.stringMatching(/^1 weights of "unet down_blocks.*F16 cannot hold/),
		});
	});

	it('or writes Inf and counts it, when asked', async () => {
		const bytes = encodeFloats('F16', Float64Array.of(1, 65504));
		const touched = touchedBy(bytesTensor('F16', [2, 1], bytes), [1, 100]);
		expect(await fuseTensor(touched, bytes, { allowOverflow: true })).toEqual({ overflowed: 1, nonFinite: 0 });
		expect([...decodeFloats('F16', bytes)]).toEqual([2, Number.POSITIVE_INFINITY]);
	});

	it('a base that holds Inf keeps it, counted', async () => {
		const tallies: unknown[] = [];
		const tensor = floats('F32', [2], [Number.POSITIVE_INFINITY, 1]);
		const fused = fusedTensor(touchedBy(tensor, [1, 1], 2), {}, (tally) => tallies.push(tally));
		expect(await valuesOf(fused)).toEqual([Number.POSITIVE_INFINITY, 2]);
		expect(tallies).toEqual([{ overflowed: 0, nonFinite: 1 }]);
	});

	it('refuses a delta that is no number', async () => {
		const tensor = floats('F32', [2], [1, 1]);
		await expect(fusedTensor(touchedBy(tensor, [1, Number.NaN], 2)).read()).rejects.toMatchObject({ code: 'E_NONFINITE' });
	});
});
