import { describe, expect, it } from 'vitest';
import type { Family, Role, TargetModule } from '../../../src/adapter.js';
import { deltaOf } from '../../../src/families/index.js';
import type { Tensor } from '../../../src/tensor.js';
import { lowRankOf } from '../../../src/transforms/product/low-rank-of.js';
import { f32, f64, moduleOf } from '../../families/helpers.js';

/** Numbers in (-1, 1), the same every time (mulberry32). */
function numbers(seed: number): () => number {
	let state = seed;
	return () => {
		state = (state + 0x6d2b79f5) | 0;
		let t = Math.imul(state ^ (state >>> 15), 1 | state);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) / 2 ** 31 - 1;
	};
}

type Shapes = Partial<Record<Role, readonly number[]>>;

function random(family: Family, shapes: Shapes, more: Partial<TargetModule> = {}): TargetModule {
	const next = numbers(Object.keys(shapes).join().length + family.length);
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, shape] of Object.entries(shapes) as [Role, readonly number[]][]) {
		const size = shape.reduce((n, d) => n * d, 1);
		factors[role] = f64(shape, Array.from({ length: size }, next));
	}
	return moduleOf(family, factors, { rule: 'alpha/rank', scaling: -0.375, ...more });
}

const CASES: readonly (readonly [string, Family, Shapes, number])[] = [
	['linear', 'lora', { up: [9, 3], down: [3, 7] }, 3],
	['convolution', 'lora', { up: [9, 3, 1, 1], down: [3, 4, 3, 3] }, 3],
	['convolution 1 x 1', 'lora', { up: [5, 2, 1, 1], down: [2, 4, 1, 1] }, 2],
	['convolution in time', 'lora', { up: [5, 2, 1, 1, 1], down: [2, 3, 2, 3, 3] }, 2],
	['with mid', 'locon', { up: [9, 3, 1, 1], mid: [3, 3, 3, 3], down: [3, 5, 1, 1] }, 3],
	['LoHa', 'loha', { hada_w1_a: [8, 2], hada_w1_b: [2, 6], hada_w2_a: [8, 3], hada_w2_b: [3, 6] }, 6],
	['LoHa, flattened convolution', 'loha', { hada_w1_a: [8, 2], hada_w1_b: [2, 27], hada_w2_a: [8, 2], hada_w2_b: [2, 27] }, 4],
	[
		'LoHa with cores',
		'loha',
		{ hada_t1: [2, 2, 3, 3], hada_w1_a: [2, 8], hada_w1_b: [2, 5], hada_t2: [3, 3, 3, 3], hada_w2_a: [3, 8], hada_w2_b: [3, 5] },
		6,
	],
	['LoKr, both whole', 'lokr', { lokr_w1: [2, 3], lokr_w2: [4, 5] }, 8],
	['LoKr, tall whole factors', 'lokr', { lokr_w1: [3, 2], lokr_w2: [5, 4] }, 8],
	['LoKr, w2 factored', 'lokr', { lokr_w1: [3, 3], lokr_w2_a: [6, 2], lokr_w2_b: [2, 5] }, 6],
	['LoKr, w1 factored', 'lokr', { lokr_w1_a: [4, 1], lokr_w1_b: [1, 4], lokr_w2: [3, 2] }, 2],
	['LoKr, both factored', 'lokr', { lokr_w1_a: [4, 2], lokr_w1_b: [2, 3], lokr_w2_a: [6, 2], lokr_w2_b: [2, 5] }, 4],
	['LoKr, whole convolution', 'lokr', { lokr_w1: [2, 2], lokr_w2: [4, 3, 3, 3] }, 8],
	['LoKr, core', 'lokr', { lokr_w1: [2, 3], lokr_w2_a: [2, 4], lokr_w2_b: [2, 5], lokr_t2: [2, 2, 3, 3] }, 4],
	['LoKr, flattened convolution', 'lokr', { lokr_w1: [2, 2], lokr_w2_a: [4, 2], lokr_w2_b: [2, 27] }, 4],
	['embedding', 'embedding', { embedding_up: [6, 2], embedding_down: [2, 11] }, 2],
];

describe('lowRankOf', () => {
	it.each(CASES)('%s is deltaOf', async (_, family, shapes, rank) => {
		const module = random(family, shapes);
		const low = await lowRankOf(module, 1.7);
		const { weight } = await deltaOf(module, { strength: 1.7 });
		if (low === undefined || weight === undefined) throw new Error('no delta');
		expect(low.up.cols).toBe(rank);
		expect(low.down.rows).toBe(rank);
		expect(low.shape).toEqual(weight.shape);
		expect([low.up.rows, low.up.rows * low.down.cols]).toEqual([low.shape[0], weight.data.length]);
		let error = 0;
		let size = 0;
		for (let i = 0; i < low.up.rows; i++) {
			for (let j = 0; j < low.down.cols; j++) {
				let x = 0;
				for (let k = 0; k < rank; k++) x += (low.up.data[i * rank + k] ?? 0) * (low.down.data[k * low.down.cols + j] ?? 0);
				const y = weight.data[i * low.down.cols + j] ?? 0;
				error += (x - y) ** 2;
				size += y * y;
			}
		}
		expect(size).toBeGreaterThan(0);
		expect(Math.sqrt(error / size)).toBeLessThan(1e-13);
	});

	it('never makes an (out, in) array', async () => {
		// 100,000 x 100,000 doubles would be 80 GB.
		const wide = moduleOf('lora', {
			up: f32([100_000, 1], new Array(100_000).fill(0.5)),
			down: f32([1, 100_000], new Array(100_000).fill(2)),
		});
		expect((await lowRankOf(wide))?.shape).toEqual([100_000, 100_000]);
		const square = f32([300, 300], new Array(90_000).fill(1));
		const column = f32([300, 1], new Array(300).fill(1));
		const row = f32([1, 300], new Array(300).fill(1));
		const low = await lowRankOf(moduleOf('lokr', { lokr_w1: f32([1, 1], [1]), lokr_w2_a: column, lokr_w2_b: row }));
		expect([low?.up.data.length, low?.down.data.length]).toEqual([300, 300]);
		expect((await lowRankOf(moduleOf('lokr', { lokr_w1: f32([1, 1], [1]), lokr_w2: square })))?.up.cols).toBe(300);
	});

	it.each<readonly [string, Family, Shapes]>([
		['full', 'full', { diff: [2, 2] }],
		['norm', 'norm', { w_norm: [2] }],
		['whole', 'whole', { weight: [2, 2] }],
		['IA3', 'ia3', { ia3_weight: [2] }],
		['OFT', 'oft', { oft_blocks: [1, 2, 2] }],
		['GLoRA', 'glora', { glora_a1: [2, 2] }],
		['DoRA', 'lora', { up: [2, 1], down: [1, 2], magnitude: [2] }],
		['a bias on up', 'lora', { up: [2, 1], down: [1, 2], up_bias: [2] }],
		['a sparse rest', 'lora', { up: [2, 1], down: [1, 2], bias_indices: [2, 1], bias_values: [1], bias_size: [2] }],
		['a dense rest', 'lora', { up: [2, 1], down: [1, 2], bias_dense: [2, 2] }],
	])('is undefined for %s', async (_, family, shapes) => {
		expect(await lowRankOf(random(family, shapes))).toBeUndefined();
	});

	it.each<readonly [string, string, TargetModule]>([
		['a scaling that was not read', 'E_LORA_ALPHA', random('lora', { up: [2, 1], down: [1, 2] }, { rule: 'unread', scaling: Number.NaN })],
		['ranks that differ', 'E_LORA_SHAPE', random('lora', { up: [2, 2], down: [1, 2] })],
		['halves that differ', 'E_LORA_SHAPE', random('loha', { hada_w1_a: [2, 1], hada_w1_b: [1, 3], hada_w2_a: [2, 1], hada_w2_b: [1, 2] })],
		['a kernel on up', 'E_UNSUPPORTED_ADAPTER', random('lora', { up: [2, 1, 3, 3], down: [1, 2, 1, 1] })],
		['lokr_t1', 'E_UNSUPPORTED_ADAPTER', random('lokr', { lokr_w1: [1, 1], lokr_w2: [1, 1], lokr_t1: [1, 1, 1, 1] })],
		['a missing factor', 'E_LORA_UNPAIRED', random('lora', { down: [1, 2] })],
	])('refuses %s', async (_, code, module) => {
		await expect(lowRankOf(module)).rejects.toMatchObject({ name: 'FormatError', code });
	});
});
