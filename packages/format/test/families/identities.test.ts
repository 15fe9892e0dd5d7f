import { describe, expect, it } from 'vitest';
import { deltaOf, FAMILIES, foldCore } from '../../src/families/index.js';
import { bytesTensor, type Tensor } from '../../src/tensor.js';
import { f32, f64, moduleOf, relativeError } from './helpers.js';

/** Numbers on a 1/8 grid, different for every seed: sums and products of a few of them are exact. */
function grid(shape: readonly number[], seed: number): Tensor {
	const count = shape.reduce((a, b) => a * b, 1);
	return f64(
		shape,
		Array.from({ length: count }, (_, i) => (((i * 7 + seed * 13 + ((i * i) % 11)) % 17) - 8) / 8),
	);
}

async function weightOf(...args: Parameters<typeof deltaOf>): Promise<Float64Array> {
	const { weight } = await deltaOf(...args);
	if (weight === undefined) throw new Error('no weight delta');
	return weight.data;
}

async function values(tensor: Tensor): Promise<Float64Array> {
	return new Float64Array((await tensor.read()).slice().buffer);
}

describe('identities that no golden file is needed for', () => {
	it('a LoCon with mid equals the plain convolution LoRA with mid folded into down', async () => {
		const [up, mid, down] = [grid([4, 2, 1, 1], 1), grid([2, 2, 3, 3], 2), grid([2, 3, 1, 1], 3)];
		const folded = foldCore('x', { shape: mid.shape, data: await values(mid) }, { shape: [2, 3], data: await values(down) });
		const plain = moduleOf('lora', { up, down: f64(folded.shape, [...folded.data]) });
		expect(await weightOf(moduleOf('locon', { up, mid, down }))).toEqual(await weightOf(plain));
	});

	it('LoKr of full factors equals kron written out by index', async () => {
		const [w1, w2] = [grid([2, 3], 4), grid([3, 2, 2, 2], 5)];
		const [a, b] = [await values(w1), await values(w2)];
		const expected: number[] = [];
		for (let o = 0; o < 6; o++) {
			for (let i = 0; i < 6; i++) {
				for (let k = 0; k < 4; k++) {
					expected.push((a[Math.floor(o / 3) * 3 + Math.floor(i / 2)] ?? 0) * (b[((o % 3) * 2 + (i % 2)) * 4 + k] ?? 0));
				}
			}
		}
		const { weight } = await deltaOf(moduleOf('lokr', { lokr_w1: w1, lokr_w2: w2 }));
		expect(weight?.shape).toEqual([6, 6, 2, 2]);
		expect([...(weight?.data ?? [])]).toEqual(expected);
	});

	it('rank(kron) = rank(W1) rank(W2): factors of rank 1 make every 2 x 2 minor vanish', async () => {
		const d = await weightOf(
			moduleOf('lokr', { lokr_w1_a: grid([2, 1], 1), lokr_w1_b: grid([1, 2], 2), lokr_w2_a: grid([2, 1], 3), lokr_w2_b: grid([1, 3], 4) }),
		);
		for (let r = 0; r < 3; r++) {
			for (let c = 0; c < 5; c++) {
				const minor = (d[r * 6 + c] ?? 0) * (d[(r + 1) * 6 + c + 1] ?? 0) - (d[r * 6 + c + 1] ?? 0) * (d[(r + 1) * 6 + c] ?? 0);
				expect(minor).toBeCloseTo(0, 15);
			}
		}
	});

	it('LoHa equals the LoRA of its Khatri-Rao factors, rank r^2', async () => {
		const f = { hada_w1_a: grid([4, 2], 1), hada_w1_b: grid([2, 3], 2), hada_w2_a: grid([4, 2], 3), hada_w2_b: grid([2, 3], 4) };
		const [a1, b1, a2, b2] = [await values(f.hada_w1_a), await values(f.hada_w1_b), await values(f.hada_w2_a), await values(f.hada_w2_b)];
		const up: number[] = [];
		for (let o = 0; o < 4; o++)
			for (let p = 0; p < 2; p++) for (let q = 0; q < 2; q++) up.push((a1[o * 2 + p] ?? 0) * (a2[o * 2 + q] ?? 0));
		const down: number[] = [];
		for (let p = 0; p < 2; p++)
			for (let q = 0; q < 2; q++) for (let i = 0; i < 3; i++) down.push((b1[p * 3 + i] ?? 0) * (b2[q * 3 + i] ?? 0));
		expect(await weightOf(moduleOf('loha', f))).toEqual(await weightOf(moduleOf('lora', { up: f64([4, 4], up), down: f64([4, 3], down) })));
	});

	it.each(['out', 'in'] as const)('DoRA with g = |V| is the plain LoRA (%s axis)', async (axis) => {
		const base = { weight: await values(grid([4, 3], 9)), shape: [4, 3] };
		const factors = { up: grid([4, 2], 1), down: grid([2, 3], 2) };
		const plain = await weightOf(moduleOf('lora', factors, { scaling: 0.5 }));
		const v = base.weight.map((x, i) => x + (plain[i] ?? 0));
		const norms = Array.from({ length: axis === 'out' ? 4 : 3 }, (_, n) => {
			let sum = 0;
			v.forEach((x, i) => {
				if ((axis === 'out' ? Math.floor(i / 3) : i % 3) === n) sum += x * x;
			});
			return Math.sqrt(sum);
		});
		const dora = moduleOf('lora', { ...factors, magnitude: f64([norms.length], norms) }, { scaling: 0.5, magnitudeAxis: axis });
		expect(relativeError(await weightOf(dora, { base }), [...plain])).toBeLessThan(1e-15);
	});

	it('zero rotations of every kind change nothing', async () => {
		const base = { weight: await values(grid([4, 8], 3)), shape: [4, 8] };
		const zero = (shape: readonly number[]): Tensor => f64(shape, new Array(shape.reduce((a, b) => a * b, 1)).fill(0));
		const peftOft = { cayleyNeumann: true, terms: 5 };
		const ones = f64([4, 1], [1, 1, 1, 1]);
		for (const module of [
			moduleOf('oft', { oft_blocks: zero([2, 2, 2]) }),
			moduleOf('boft', { oft_blocks: zero([2, 2, 2, 2]) }),
			moduleOf('peft-oft', { oft_R: zero([2, 6]) }),
			moduleOf('peft-boft', { boft_R: zero([2, 2, 4, 4]), boft_s: ones }),
		]) {
			expect([...(await weightOf(module, { base, peftOft }))].every((x) => x === 0)).toBe(true);
		}
	});

	it('strength multiplies every linear family, and draws DoRA by each rule', async () => {
		const base = { weight: await values(grid([4, 3], 9)), shape: [4, 3] };
		const lora = { up: grid([4, 2], 1), down: grid([2, 3], 2) };
		const once = await weightOf(moduleOf('lora', lora));
		expect([...(await weightOf(moduleOf('lora', lora), { strength: -0.5 }))]).toEqual([...once].map((x) => x * -0.5));
		const dora = moduleOf('lora', { ...lora, magnitude: grid([4], 5) }, { magnitudeAxis: 'out' });
		const full = await weightOf(dora, { base });
		for (const doraStrength of ['interpolate', 'lycoris', 'peft'] as const) {
			expect(await weightOf(dora, { base, doraStrength, strength: 1 })).toEqual(full);
		}
		expect([...(await weightOf(dora, { base, strength: 0.5 }))]).toEqual([...full].map((x) => x * 0.5));
	});
});

describe('differences and whole values', () => {
	it('full, norm, bias', async () => {
		const full = await deltaOf(moduleOf('full', { diff: f32([1, 2], [0.5, -1]), diff_b: f32([1], [0.25]) }), { strength: 2 });
		expect([...(full.weight?.data ?? [])]).toEqual([1, -2]);
		expect([...(full.bias?.data ?? [])]).toEqual([0.5]);
		const norm = await deltaOf(moduleOf('norm', { w_norm: f32([2], [1, 2]), b_norm: f32([2], [3, 4]) }));
		expect([...(norm.weight?.data ?? []), ...(norm.bias?.data ?? [])]).toEqual([1, 2, 3, 4]);
		const bias = await deltaOf(moduleOf('full', { diff_b: f32([1], [0.25]) }));
		expect(bias.weight).toBeUndefined();
	});

	it('whole minus base', async () => {
		const base = { weight: Float64Array.of(1, 2), shape: [1, 2], bias: Float64Array.of(1) };
		const delta = await deltaOf(moduleOf('whole', { weight: f32([1, 2], [3, 5]), bias: f32([1], [0.5]) }), { base });
		expect([...(delta.weight?.data ?? [])]).toEqual([2, 3]);
		expect([...(delta.bias?.data ?? [])]).toEqual([-0.5]);
	});

	it('sparse difference: added to the weight, refused beside a scaling', async () => {
		const factors = {
			up: f64([2, 1], [1, 2]),
			down: f64([1, 2], [1, 0]),
			bias_indices: bytesTensor('I16', [2, 2], new Uint8Array(Int16Array.of(0, 1, 1, 1).buffer)),
			bias_values: f64([2], [10, 20]),
			bias_size: bytesTensor('I16', [2], new Uint8Array(Int16Array.of(2, 2).buffer)),
		};
		expect([...(await weightOf(moduleOf('lora', factors), { strength: 2 }))]).toEqual([2, 20, 4, 40]);
		await expect(deltaOf(moduleOf('lora', factors, { scaling: 0.5 }))).rejects.toMatchObject({ code: 'E_UNSUPPORTED_ADAPTER' });
	});
});

describe('refusals', () => {
	const bad: readonly (readonly [string, string, Parameters<typeof deltaOf>])[] = [
		['inner dimensions', 'E_LORA_SHAPE', [moduleOf('lora', { up: grid([4, 2], 1), down: grid([3, 3], 2) })]],
		['kernel on up', 'E_UNSUPPORTED_ADAPTER', [moduleOf('lora', { up: grid([4, 2, 3, 3], 1), down: grid([2, 3, 1, 1], 2) })]],
		['missing factor', 'E_LORA_UNPAIRED', [moduleOf('loha', { hada_w1_a: grid([4, 2], 1) })]],
		[
			'no base',
			'E_BASE_MISMATCH',
			[moduleOf('glora', { glora_a1: grid([3, 2], 1), glora_a2: grid([2, 3], 1), glora_b1: grid([4, 2], 1), glora_b2: grid([2, 3], 1) })],
		],
		['alpha unread', 'E_LORA_ALPHA', [moduleOf('lora', {}, { scaling: Number.NaN, rule: 'unread' })]],
		['oft_diag', 'E_UNSUPPORTED_ADAPTER', [moduleOf('oft', { oft_diag: grid([2, 2, 2], 1) })]],
		['peft oft without its configuration', 'E_UNSUPPORTED_ADAPTER', [moduleOf('peft-oft', { oft_R: grid([1, 1], 1) })]],
		['shape asked for', 'E_LORA_SHAPE', [moduleOf('lora', { up: grid([4, 2], 1), down: grid([2, 3], 2) }), { shape: [5, 3] }]],
		['lokr_t1', 'E_UNSUPPORTED_ADAPTER', [moduleOf('lokr', { lokr_t1: grid([1], 1) })]],
	];
	it.each(bad)('%s', async (_name, code, args) => {
		await expect(deltaOf(...args)).rejects.toMatchObject({ name: 'FormatError', code });
	});

	it('a hostile outer product is refused before it is allocated', async () => {
		const column = (n: number): Tensor => bytesTensor('F16', [n, 1], new Uint8Array(n * 2));
		const row = (n: number): Tensor => bytesTensor('F16', [1, n], new Uint8Array(n * 2));
		const module = moduleOf('lora', { up: column(100_000), down: row(100_000) });
		await expect(deltaOf(module)).rejects.toMatchObject({ code: 'E_LIMIT' });
	});

	it('every family has its function', () => {
		const families: readonly string[] = [
			'lora',
			'locon',
			'loha',
			'lokr',
			'full',
			'norm',
			'ia3',
			'peft-ia3',
			'oft',
			'boft',
			'peft-oft',
			'peft-boft',
			'glora',
			'embedding',
			'whole',
		];
		expect([...FAMILIES.keys()]).toEqual(families);
	});
});
