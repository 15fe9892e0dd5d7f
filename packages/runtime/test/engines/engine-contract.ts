import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine, ParameterSource } from '../../src/engines/engine.js';
import { createGraphBuilder, type Dim, type Graph, type OpAttributes, type OpName, type Value } from '../../src/graph/index.js';
import { countOf, type HostTensor } from '../../src/host-tensor.js';

export interface ContractOptions {
	/** Computes in double precision: `createFloat64Engine`. */
	readonly oracle: Engine;
	/** Largest error of an element, relative to the largest element of the result. */
	readonly tolerance: number;
	/** What the engine keeps of a value that it only passes on; default: all of it. */
	readonly kept?: ((value: number) => number) | undefined;
}

/**
 * What every engine must hold: each operation of the table, with operands fed and as weights, with named sizes of 0 and
 * more, gives what the oracle gives; rank 0 gives the base's bits; feeds are checked; a closed session says so.
 */
export function engineContract(
	name: string,
	createEngine: () => Promise<Engine>,
	{ oracle, tolerance, kept = (x) => x }: ContractOptions,
): void {
	describe(`${name}: the engine contract`, () => {
		let engine: Engine;
		beforeAll(async () => {
			engine = await createEngine();
		});

		describe.each(CASES)('$op $label', (c) => {
			it.each(modesOf(c))('%s', async (_, asWeights) => {
				const { graph, parameters } = record(c, asWeights, {});
				const [tested, exact] = [await engine.load(graph, parameters), await oracle.load(graph, parameters)];
				for (const sizes of c.sizes) {
					const { feeds } = record(c, asWeights, sizes);
					expectClose((await tested.run(feeds))['y'], (await exact.run(feeds))['y'], tolerance);
				}
				await tested.close();
				await exact.close();
			});
		});

		it.each(['lowRank', 'lowRankConv'] as const)('%s of rank 0 is the base, to the bit', async (op) => {
			const c = CASES.find((found) => found.op === op);
			if (c === undefined) throw new Error(`no case of ${op}`);
			const { graph, feeds } = record(c, false, { r: 0 });
			const session = await engine.load(graph, NO_WEIGHTS);
			await session.run(record(c, false, { r: 5 }).feeds);
			const { y } = await session.run(feeds);
			await session.close();
			expect(y?.data.length).toBeGreaterThan(0);
			// Passed on whole or rounded, as the engine's device has it.
			expect(bitsOf(mapped(y, kept))).toEqual(bitsOf(mapped(feeds['x0'], kept)));
		});

		describe('a session', () => {
			const { graph, parameters, feeds } = small();

			it('runs again with other sizes of what has a name, and gives the same for the same', async () => {
				const session = await engine.load(graph, parameters);
				const first = await session.run(feeds(3));
				const other = await session.run(feeds(0));
				const again = await session.run(feeds(3));
				expect(bitsOf(again['y'])).toEqual(bitsOf(first['y']));
				expect(bitsOf(other['y'])).not.toEqual(bitsOf(first['y']));
				await session.close();
			});

			it('takes double precision', async () => {
				const single = feeds(2);
				const double = Object.fromEntries(
					Object.entries(single).map(([key, t]): [string, HostTensor] => [key, { ...t, dtype: 'f64', data: Float64Array.from(t.data) }]),
				);
				const a = await runOnce(engine, graph, parameters, single);
				const b = await runOnce(engine, graph, parameters, double);
				expectClose(a['y'], b['y'], tolerance);
			});

			it('gives taps that are asked for, and not others', async () => {
				const session = await engine.load(graph, parameters, { taps: ['inner'] });
				const result = await session.run(feeds(1));
				expect(Object.keys(result).sort()).toEqual(['inner', 'y']);
				const want = await (await oracle.load(graph, parameters, { taps: ['inner'] })).run(feeds(1));
				expectClose(result['inner'], want['inner'], tolerance);
				await session.close();
				expect(Object.keys(await runOnce(engine, graph, parameters, feeds(1)))).toEqual(['y']);
			});

			it('takes an output that is an input or a weight, and one value under two names', async () => {
				const b = createGraphBuilder();
				const x = b.input('x', [2, 2]);
				b.output('x', x);
				b.output('w', b.parameter('w', [2]));
				const z = b.apply('neg', [x], {});
				b.output('z1', z);
				b.output('z2', z);
				const feed = random([2, 2], 5);
				const result = await runOnce(engine, b.graph(), memoryWeights({ w: random([2], 6) }), { x: feed });
				expect(Float32Array.from(result['x']?.data ?? [])).toEqual(feed.data);
				expect(Float32Array.from(result['w']?.data ?? [])).toEqual(random([2], 6).data);
				expect(result['z1']).toEqual(result['z2']);
			});

			it.each([
				['missing', { x: undefined }],
				['of another shape', { x: random([2, 3, 5], 1) }],
				['of another type', { x: { dtype: 'i32', shape: [2, 3, 4], data: new Int32Array(24) } satisfies HostTensor }],
				['of two sizes under one name', { up: random([4, 5], 1) }],
			])('refuses a feed that is %s', async (_, change) => {
				const session = await engine.load(graph, parameters);
				const bad = { ...feeds(2), ...change } as Record<string, HostTensor>;
				await expect(session.run(bad)).rejects.toMatchObject({ name: 'FormatError', code: 'E_USAGE' });
				await session.close();
			});
		});

		afterAll(() => {
			expect(engine.id).not.toBe(oracle.id);
		});
	});
}

/** An operation on operands of given shapes. Those from `weights` on may be weights of the base. */
interface Case<K extends OpName = OpName> {
	readonly op: K;
	readonly label: string;
	readonly shapes: readonly (readonly Dim[])[];
	readonly attributes: OpAttributes<K>;
	/** Index of the first operand that a model has as a weight; undefined: none. */
	readonly weights: number | undefined;
	/** Values of the operands: uniform in this range; `ids`: whole numbers below the second. */
	readonly range: readonly [number, number] | { readonly ids: number };
	/** The sizes of names, one run each. */
	readonly sizes: readonly Readonly<Record<string, number>>[];
}

function one<K extends OpName>(op: K, shapes: readonly (readonly Dim[])[], attributes: OpAttributes<K>, more: Partial<Case> = {}): Case {
	const named = shapes.flat().some((d) => typeof d === 'string');
	// 0 after more, so that what a kernel leaves as memory was before is not by chance 0.
	const sizes = named ? [{ r: 5 }, { r: 0 }, { r: 1 }, { r: 0 }] : [{}];
	const label = shapes.map((s) => `(${s.join(', ')})`).join(' ');
	return { op, label: `${label} ${JSON.stringify(attributes)}`, shapes, attributes, weights: undefined, range: [-2, 2], sizes, ...more };
}

const conv = (stride: [number, number], padding: [number, number, number, number], dilation: [number, number] = [1, 1]) => ({
	stride,
	padding,
	dilation,
});
const W1 = { weights: 1 };

const CASES: readonly Case[] = [
	...(['neg', 'exp', 'sigmoid', 'tanh', 'erf', 'sin', 'cos', 'abs', 'sign'] as const).map((op) => one(op, [[3, 7]], {})),
	...(['exp', 'neg'] as const).map((op) => one(op, [['r', 7]], {})),
	...(['log', 'sqrt'] as const).map((op) => one(op, [[3, 7]], {}, { range: [0.1, 3] })),
	...(['sigmoid', 'tanh', 'erf'] as const).map((op) => one(op, [[5, 9]], {}, { range: [-60, 60] })),
	...(['add', 'sub', 'mul', 'maximum', 'greater'] as const).flatMap((op) => [
		one(op, [[2, 3, 4], [4]], {}, W1),
		one(
			op,
			[
				[2, 1, 4],
				[3, 1],
			],
			{},
		),
		one(
			op,
			[
				['r', 4],
				['r', 1],
			],
			{},
		),
	]),
	one('div', [[2, 3, 4], [4]], {}, { range: [0.5, 2] }),
	...[false, true].flatMap((transposeA) =>
		[false, true].flatMap((transposeB) => {
			const a = (m: Dim, k: Dim): Dim[] => (transposeA ? [k, m] : [m, k]);
			const b = (k: Dim, n: Dim): Dim[] => (transposeB ? [n, k] : [k, n]);
			const attributes = { transposeA, transposeB };
			return [
				one('matmul', [a(5, 4), b(4, 3)], attributes, W1),
				one('matmul', [a(5, 'r'), b('r', 3)], attributes),
				one('matmul', [a('r', 4), b(4, 'r')], attributes),
				one(
					'matmul',
					[
						[2, 3, ...a(5, 4)],
						[2, 3, ...b(4, 6)],
					],
					attributes,
				),
				one('matmul', [[2, 1, ...a(5, 4)], b(4, 6)], attributes, W1),
				one('matmul', [a(5, 4), [3, ...b(4, 6)]], attributes),
				one('matmul', [[2, ...a(5, 'r')], b('r', 3)], attributes),
			];
		}),
	),
	one(
		'conv2d',
		[
			[2, 3, 7, 6],
			[4, 3, 3, 3],
		],
		conv([1, 1], [1, 1, 1, 1]),
		W1,
	),
	one('conv2d', [[1, 3, 7, 6], [4, 3, 3, 3], [4]], conv([2, 2], [0, 1, 0, 1]), W1),
	one('conv2d', [[1, 16, 8, 8], [32, 16, 3, 3], [32]], conv([1, 1], [1, 1, 1, 1]), W1),
	one('conv2d', [[2, 32, 5, 6], [16, 32, 1, 1], [16]], conv([1, 1], [0, 0, 0, 0]), W1),
	one('conv2d', [[1, 4, 9, 9], [5, 4, 3, 2], [5]], conv([2, 1], [2, 0, 1, 3], [2, 1]), W1),
	one(
		'conv2d',
		[
			[2, 3, 5, 5],
			['r', 3, 3, 3],
		],
		conv([1, 1], [1, 1, 1, 1]),
	),
	one(
		'conv2d',
		[
			[2, 'r', 5, 5],
			[4, 'r', 1, 1],
		],
		conv([1, 1], [0, 0, 0, 0]),
	),
	one(
		'convTranspose2d',
		[
			[2, 4, 4, 3],
			[4, 3, 3, 3],
		],
		{ ...conv([2, 2], [1, 1, 1, 1]), size: [8, 6] },
		W1,
	),
	one(
		'convTranspose2d',
		[
			[1, 4, 4, 3],
			[4, 3, 3, 3],
		],
		{ ...conv([2, 2], [0, 1, 0, 1]), size: [8, 7] },
		W1,
	),
	one(
		'convTranspose2d',
		[
			[1, 4, 5, 5],
			[4, 16, 3, 3],
		],
		{ ...conv([1, 1], [1, 1, 1, 1]), size: [5, 5] },
		W1,
	),
	one(
		'convTranspose2d',
		[
			[1, 2, 3, 3],
			[2, 3, 2, 3],
		],
		{ ...conv([2, 1], [1, 0, 2, 1], [2, 1]), size: [7, 2] },
	),
	one('reshape', [[2, 3, 4]], { shape: [6, 4] }),
	one('reshape', [[1, 1]], { shape: [] }),
	one('reshape', [['r', 3, 4]], { shape: ['r', 12] }),
	one('reshape', [['r', 6]], { shape: [2, 'r', 3] }),
	one('transpose', [[2, 3, 4]], { permutation: [2, 0, 1] }),
	one('transpose', [['r', 3]], { permutation: [1, 0] }),
	one('slice', [[3, 7]], { axis: 1, start: 2, end: 5 }),
	one('slice', [[3, 7]], { axis: 0, start: 1, end: 1 }),
	one('slice', [['r', 7]], { axis: 1, start: 6, end: 7 }),
	one(
		'concat',
		[
			[2, 3],
			[2, 1],
			[2, 4],
		],
		{ axis: 1 },
	),
	one(
		'concat',
		[
			['r', 3],
			['r', 2],
		],
		{ axis: 1 },
	),
	one('pad', [[2, 3, 4]], { axis: 1, before: 2, after: 0 }),
	one('pad', [[2, 3, 4]], { axis: 2, before: 0, after: 1 }),
	one('broadcast', [[3, 1]], { shape: [2, 3, 4] }),
	one('broadcast', [[]], { shape: [2, 2] }),
	one('broadcast', [['r', 1]], { shape: [2, 'r', 3] }),
	one('sum', [[2, 3, 4]], { axes: [0, 2] }),
	one('sum', [[2, 3, 4]], { axes: [] }),
	one('sum', [['r', 3]], { axes: [0] }),
	one('sum', [['r', 3]], { axes: [1] }),
	one('amax', [[2, 3, 4]], { axes: [1] }),
	one('amax', [[2, 3, 4]], { axes: [2, 1] }),
	one('amax', [[2, 3]], { axes: [] }),
	one(
		'gather',
		[
			[6, 4],
			[2, 3],
		],
		{},
		{ range: { ids: 6 } },
	),
	one('gather', [[6, 4], []], {}, { range: { ids: 6 } }),
	one('oneHot', [[2, 3]], { depth: 6 }, { range: { ids: 6 } }),
	one('stopGradient', [[2, 3]], {}),
	one('linear', [[2, 5, 4], [3, 4], [3]], {}, W1),
	one(
		'linear',
		[
			[2, 5, 4],
			[3, 4],
		],
		{},
		W1,
	),
	one('linear', [[5, 4], [3, 4], [3]], {}, W1),
	one('linear', [['r', 2, 4], [3, 4], [3]], {}, W1),
	one(
		'lowRank',
		[
			[2, 5, 6],
			[2, 5, 4],
			['r', 4],
			[6, 'r'],
		],
		{},
	),
	one(
		'lowRank',
		[
			[5, 6],
			[5, 4],
			[2, 4],
			[6, 2],
		],
		{},
	),
	one(
		'lowRankConv',
		[
			[2, 6, 5, 4],
			[2, 3, 5, 4],
			['r', 3, 3, 3],
			[6, 'r', 1, 1],
		],
		conv([1, 1], [1, 1, 1, 1]),
	),
	one(
		'lowRankConv',
		[
			[1, 6, 3, 3],
			[1, 16, 6, 6],
			['r', 16, 3, 3],
			[6, 'r', 1, 1],
		],
		conv([2, 2], [0, 1, 0, 1]),
	),
	...(['silu', 'gelu', 'quickGelu'] as const).flatMap((op) => [one(op, [[2, 3, 5]], {}), one(op, [[7, 9]], {}, { range: [-30, 30] })]),
	one('softmax', [[2, 3, 17]], {}),
	one('softmax', [[4, 9]], {}, { range: [-80, 80] }),
	one('layerNorm', [[2, 3, 16], [16], [16]], { epsilon: 1e-5 }, W1),
	one('layerNorm', [[3, 10], [10], [10]], { epsilon: 1e-6 }, { ...W1, range: [3, 5] }),
	one('groupNorm', [[2, 8, 5, 6], [8], [8]], { groups: 4, epsilon: 1e-5 }, W1),
	one('groupNorm', [[1, 6, 7], [6], [6]], { groups: 2, epsilon: 1e-6 }, { ...W1, range: [2, 4] }),
	one('groupNorm', [[2, 8, 3, 3], [8], [8]], { groups: 8, epsilon: 1e-5 }, W1),
	one(
		'attention',
		[
			[2, 9, 12],
			[2, 9, 12],
			[2, 9, 12],
		],
		{ heads: 3, scale: 0.5, causal: false, slices: 1 },
	),
	one(
		'attention',
		[
			[2, 9, 12],
			[2, 5, 12],
			[2, 5, 12],
		],
		{ heads: 3, scale: 0.5, causal: false, slices: 4 },
	),
	one(
		'attention',
		[
			[2, 9, 12],
			[2, 9, 12],
			[2, 9, 12],
		],
		{ heads: 2, scale: 0.4, causal: true, slices: 1 },
	),
	one(
		'attention',
		[
			[1, 70, 40],
			[1, 77, 40],
			[1, 77, 40],
		],
		{ heads: 1, scale: 0.15, causal: false, slices: 1 },
	),
	one(
		'attention',
		[
			[1, 600, 80],
			[1, 600, 80],
			[1, 600, 80],
		],
		{ heads: 2, scale: 0.15, causal: false, slices: 1 },
	),
	one(
		'attention',
		[
			[1, 77, 64],
			[1, 77, 64],
			[1, 77, 64],
		],
		{ heads: 4, scale: 0.25, causal: true, slices: 1 },
	),
	one('upsampleNearest', [[2, 3, 4, 5]], { height: 8, width: 10 }),
	one('upsampleNearest', [[1, 3, 4, 5]], { height: 7, width: 10 }),
	one('upsampleNearest', [[1, 2, 13, 11]], { height: 25, width: 21 }),
	one('upsampleNearest', [[1, 16, 4, 4]], { height: 8, width: 8 }),
];

function modesOf(c: Case): readonly [string, boolean][] {
	return c.weights === undefined ? [['fed', false]] : [['fed', false], ['with weights', true]]; // biome-ignore format: one line a thing
}

interface Recorded {
	readonly graph: Graph;
	readonly feeds: Record<string, HostTensor>;
	readonly parameters: ParameterSource;
}

function record({ op, shapes, attributes, weights, range }: Case, asWeights: boolean, sizes: Readonly<Record<string, number>>): Recorded {
	const builder = createGraphBuilder();
	const feeds: Record<string, HostTensor> = {};
	const tensors: Record<string, HostTensor> = {};
	const operands = shapes.map((shape, i): Value => {
		const known = shape.map((d) => (typeof d === 'number' ? d : (sizes[d] ?? 0)));
		const isIds = 'ids' in range && i === shapes.length - 1;
		const tensor = isIds ? randomIds(known, range.ids) : random(known, 17 * i + shapes.length, ...('ids' in range ? [-2, 2] as const : range)); // biome-ignore format: as above
		if (asWeights && weights !== undefined && i >= weights) {
			tensors[`unet.w${i}`] = tensor;
			return builder.parameter(`unet.w${i}`, known);
		}
		feeds[`x${i}`] = tensor;
		return builder.input(`x${i}`, shape, isIds ? 'i32' : 'f32');
	});
	builder.output(
		'y',
		builder.scope('unet.part', () => builder.apply(op, operands, attributes)),
	);
	return { graph: builder.graph(), feeds, parameters: memoryWeights(tensors) };
}

/** x (2, 3, 4) -> linear with a low-rank term -> silu, whose operand is the tap `inner`. */
function small(): { graph: Graph; parameters: ParameterSource; feeds: (rank: number) => Record<string, HostTensor> } {
	const b = createGraphBuilder();
	const x = b.input('x', [2, 3, 4]);
	const [down, up] = [b.input('down', ['r', 4]), b.input('up', [5, 'r'])];
	const base = b.apply('linear', [x, b.parameter('w', [5, 4])], {});
	const inner = b.tap('inner', b.apply('lowRank', [base, x, down, up], {}));
	b.tap('unused', b.apply('neg', [inner], {}));
	b.output('y', b.apply('silu', [inner], {}));
	return {
		graph: b.graph(),
		parameters: memoryWeights({ w: random([5, 4], 8) }),
		feeds: (r) => ({ x: random([2, 3, 4], 1), down: random([r, 4], 2), up: random([5, r], 3) }),
	};
}

export async function runOnce(
	engine: Engine,
	graph: Graph,
	parameters: ParameterSource,
	feeds: Readonly<Record<string, HostTensor>>,
): Promise<Readonly<Record<string, HostTensor>>> {
	const session = await engine.load(graph, parameters);
	try {
		return await session.run(feeds);
	} finally {
		await session.close();
	}
}

/** Weights that lie in no file. */
export function memoryWeights(tensors: Readonly<Record<string, HostTensor>>): ParameterSource {
	return {
		async read(name) {
			const found = tensors[name];
			if (found === undefined) throw new Error(`no weight ${name}`);
			return Float32Array.from(found.data);
		},
		stored: () => undefined,
	};
}

const NO_WEIGHTS: ParameterSource = memoryWeights({});

/** Uniform in [low, high), the same for the same seed. */
export function random(shape: readonly number[], seed: number, low = -1, high = 1): HostTensor & { readonly data: Float32Array } {
	const data = new Float32Array(countOf(shape));
	let state = (seed * 2654435761 + 12345) >>> 0;
	for (let i = 0; i < data.length; i++) {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		data[i] = low + ((high - low) * (state >>> 8)) / 2 ** 24;
	}
	return { dtype: 'f32', shape, data };
}

function randomIds(shape: readonly number[], below: number): HostTensor {
	return { dtype: 'i32', shape, data: Int32Array.from(random(shape, 3, 0, below).data) };
}

function bitsOf(tensor: HostTensor | undefined): Uint32Array | Float64Array {
	if (tensor?.data instanceof Float32Array) return new Uint32Array(tensor.data.slice().buffer);
	return Float64Array.from(tensor?.data ?? []);
}

function mapped(tensor: HostTensor | undefined, change: (value: number) => number): HostTensor | undefined {
	return tensor && { ...tensor, data: Float32Array.from(tensor.data, change) };
}

/** Every element within `tolerance` of the largest, and the shapes the same. */
export function expectClose(got: HostTensor | undefined, want: HostTensor | undefined, tolerance: number): void {
	if (got === undefined || want === undefined) throw new Error('a result is missing');
	expect([...got.shape]).toEqual([...want.shape]);
	expect(got.data.length).toBe(want.data.length);
	let [worst, largest] = [0, 0];
	for (const [i, value] of want.data.entries()) {
		const error = Math.abs((got.data[i] ?? Number.NaN) - value);
		worst = Number.isNaN(error) ? Number.POSITIVE_INFINITY : Math.max(worst, error);
		largest = Math.max(largest, Math.abs(value));
	}
	expect(worst).toBeLessThanOrEqual(tolerance * largest);
}
