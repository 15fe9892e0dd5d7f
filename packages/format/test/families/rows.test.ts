import { describe, expect, it } from 'vitest';
import type { Family, Role } from '../../src/adapter.js';
import { deltaOf, needsBase, readFactors, rowsOf } from '../../src/families/index.js';
import type { Tensor } from '../../src/tensor.js';
import { f64, moduleOf } from './helpers.js';

/** Numbers without pattern, so that a wrong row shows. */
function noise(seed: number): () => number {
	let x = seed;
	return () => {
		x = (x * 1103515245 + 12345) % 2147483648;
		return x / 1073741824 - 1;
	};
}

type Shapes = Partial<Record<Role, readonly number[]>>;

/** family, factor shapes, shape of the weight, whether rows are computed alone, magnitude's axis. */
const CASES: readonly (readonly [string, Family, Shapes, readonly number[], boolean, ('in' | 'out')?])[] = [
	['lora', 'lora', { up: [6, 3], down: [3, 4] }, [6, 4], true],
	['lora of a convolution', 'lora', { up: [6, 3, 1, 1], down: [3, 2, 3, 3] }, [6, 2, 3, 3], true],
	['locon with a core', 'locon', { up: [6, 3, 1, 1], mid: [3, 2, 3, 3], down: [2, 4, 1, 1] }, [6, 4, 3, 3], true],
	['lora with a bias', 'lora', { up: [6, 3], down: [3, 4], up_bias: [6] }, [6, 4], true],
	['loha', 'loha', { hada_w1_a: [6, 2], hada_w1_b: [2, 4], hada_w2_a: [6, 2], hada_w2_b: [2, 4] }, [6, 4], true],
	[
		'loha with cores',
		'loha',
		{ hada_t1: [2, 2, 3, 3], hada_t2: [2, 2, 3, 3], hada_w1_a: [2, 6], hada_w1_b: [2, 4], hada_w2_a: [2, 6], hada_w2_b: [2, 4] },
		[6, 4, 3, 3],
		false,
	],
	['lokr', 'lokr', { lokr_w1: [3, 2], lokr_w2: [2, 2] }, [6, 4], true],
	['lokr of parts', 'lokr', { lokr_w1_a: [3, 2], lokr_w1_b: [2, 2], lokr_w2_a: [2, 1], lokr_w2_b: [1, 2] }, [6, 4], true],
	['lokr with a core', 'lokr', { lokr_w1: [3, 2], lokr_t2: [2, 2, 3, 3], lokr_w2_a: [2, 2], lokr_w2_b: [2, 2] }, [6, 4, 3, 3], true],
	['full', 'full', { diff: [6, 4], diff_b: [6] }, [6, 4], true],
	['norm', 'norm', { w_norm: [6], b_norm: [6] }, [6], true],
	['whole', 'whole', { weight: [6, 4], bias: [6] }, [6, 4], true],
	['embedding', 'embedding', { embedding_down: [2, 6], embedding_up: [4, 2] }, [6, 4], true],
	['ia3 of rows', 'ia3', { ia3_weight: [6, 1], on_input: [] }, [6, 4], true],
	['ia3 of PEFT, rows', 'peft-ia3', { ia3_l: [6, 1] }, [6, 4], true],
	['ia3 of PEFT, columns', 'peft-ia3', { ia3_l: [1, 4] }, [6, 4], true],
	['dora by rows', 'lora', { up: [6, 3], down: [3, 4], magnitude: [6] }, [6, 4], true, 'out'],
	[
		'dora by rows of a convolution',
		'locon',
		{ up: [6, 3], mid: [3, 3, 3, 3], down: [3, 4], magnitude: [1, 6, 1, 1] },
		[6, 4, 3, 3],
		true,
		'out',
	],
	[
		'dora over loha',
		'loha',
		{ hada_w1_a: [6, 2], hada_w1_b: [2, 4], hada_w2_a: [6, 2], hada_w2_b: [2, 4], magnitude: [6, 1] },
		[6, 4],
		true,
		'out',
	],
	['dora by columns', 'lora', { up: [6, 3], down: [3, 4], magnitude: [1, 4] }, [6, 4], false, 'in'],
	['glora', 'glora', { glora_a1: [4, 2], glora_a2: [2, 4], glora_b1: [6, 2], glora_b2: [2, 4] }, [6, 4], false],
	['oft', 'oft', { oft_blocks: [2, 3, 3] }, [6, 4], false],
];

describe('rowsOf gives the rows of deltaOf bit for bit', () => {
	const cases = CASES.map(([name, family, shapes, shape, sliceable, axis]) => ({ name, family, shapes, shape, sliceable, axis }));
	it.each(cases)('$name', async ({ family, shapes, shape, sliceable, axis }) => {
		const next = noise(7);
		const factors: Partial<Record<Role, Tensor>> = {};
		for (const [role, dims] of Object.entries(shapes) as [Role, readonly number[]][]) {
			const count = dims.reduce((n, d) => n * d, 1);
			factors[role] = f64(dims, role === 'on_input' ? [0] : Array.from({ length: count }, next));
		}
		const module = moduleOf(family, factors, { scaling: 0.75, magnitudeAxis: axis });
		const [rows = 1, ...rest] = shape;
		const taps = rest.reduce((n, d) => n * d, 1);
		const weight = Float64Array.from({ length: rows * taps }, next);
		const bias = Float64Array.from({ length: rows }, next);
		const based = needsBase(module);
		const whole = await deltaOf(module, { strength: -1.25, shape, base: based ? { weight, shape, bias } : undefined });
		const cut = rowsOf(module, await readFactors(module), shape, { strength: -1.25 });
		expect(cut.sliceable).toBe(sliceable);
		for (const [from, to] of [
			[0, rows],
			[0, 1],
			[1, 4],
			[rows - 1, rows],
			[2, 2],
		] as const) {
			const own = cut.sliceable ? { weight: weight.subarray(from * taps, to * taps), shape: [to - from, ...rest] } : { weight, shape };
			const part = cut.weight(from, to, based ? own : undefined);
			expect(part).toEqual(whole.weight?.data.slice(from * taps, to * taps));
		}
		expect(cut.bias(based ? { weight, shape, bias } : undefined)).toEqual(whole.bias?.data);
	});
});
