import * as tf from '@tensorflow/tfjs';
import { beforeAll, describe, expect, it } from 'vitest';
import { createFloat64Engine } from '../../src/engines/float64/index.js';
import { filterGradient } from '../../src/engines/tfjs/filter-gradient.js';
import { evaluateGraph, TFJS_KERNELS, type TfjsContext } from '../../src/engines/tfjs/index.js';
import { createGraphBuilder, type Graph, lowerGraph, type OpAttributes, type OpName, type Value } from '../../src/graph/index.js';
import { countOf, type HostTensor } from '../../src/host-tensor.js';
import { memoryWeights, random } from './engine-contract.js';

// TensorFlow.js' gradients through each kernel, against central differences of the float64 engine.
const context: TfjsContext = { tf, backend: 'cpu' };
beforeAll(async () => {
	tf.env().set('PROD', true);
	await tf.setBackend('cpu');
});

interface Case<K extends OpName = OpName> {
	readonly op: K;
	readonly shapes: readonly (readonly number[])[];
	readonly attributes: OpAttributes<K>;
	/** Values of the operands; away from kinks. */
	readonly range: readonly [number, number];
}

function one<K extends OpName>(
	op: K,
	shapes: readonly (readonly number[])[],
	attributes: OpAttributes<K>,
	range: readonly [number, number] = [-1, 1],
): Case {
	return { op, shapes, attributes, range };
}

const PLAIN = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] } as const;
const STRIDED = { stride: [2, 2], padding: [1, 1, 1, 1], dilation: [1, 1] } as const;
const ODD = { stride: [2, 1], padding: [0, 1, 2, 0], dilation: [2, 1] } as const;
const both = [true, false];

const CASES: readonly Case[] = [
	...(['neg', 'exp', 'sigmoid', 'tanh', 'erf', 'sin', 'cos'] as const).map((op) => one(op, [[3, 4]], {})),
	...(['log', 'sqrt', 'abs', 'sign'] as const).map((op) => one(op, [[3, 4]], {}, [0.5, 2])),
	...(['add', 'sub', 'mul'] as const).map((op) =>
		one(
			op,
			[
				[2, 3, 4],
				[3, 1],
			],
			{},
		),
	),
	one('div', [[2, 3, 4], [4]], {}, [0.5, 2]),
	one('maximum', [[3, 4], [4]], {}),
	one('greater', [[3, 4], [4]], {}),
	...both.flatMap((transposeA) =>
		both.flatMap((transposeB) => {
			const [a, b] = [transposeA ? [4, 3] : [3, 4], transposeB ? [5, 4] : [4, 5]];
			return [
				one('matmul', [a, b], { transposeA, transposeB }),
				one('matmul', [[2, ...a], b], { transposeA, transposeB }),
				one('matmul', [[2, 1, ...a], [3, ...b]], { transposeA, transposeB }), // biome-ignore format: one line a case
			];
		}),
	),
	one('conv2d', [[2, 2, 5, 4], [3, 2, 3, 3], [3]], PLAIN),
	one('conv2d', [[1, 2, 6, 6], [3, 2, 3, 3], [3]], STRIDED),
	one('conv2d', [[1, 2, 6, 6], [3, 2, 3, 3]], { ...STRIDED, padding: [0, 1, 0, 1] }), // biome-ignore format: one line a case
	one('conv2d', [[1, 2, 7, 5], [3, 2, 2, 3]], ODD), // biome-ignore format: one line a case
	one('convTranspose2d', [[1, 3, 3, 3], [3, 2, 3, 3]], { ...STRIDED, size: [6, 5] }), // biome-ignore format: one line a case
	one('reshape', [[2, 3]], { shape: [3, 2] }),
	one('transpose', [[2, 3, 4]], { permutation: [1, 2, 0] }),
	one('slice', [[3, 5]], { axis: 1, start: 1, end: 3 }),
	one('concat', [[2, 3], [2, 1]], { axis: 1 }), // biome-ignore format: one line a case
	one('pad', [[2, 3]], { axis: 1, before: 1, after: 2 }),
	one('broadcast', [[3, 1]], { shape: [2, 3, 4] }),
	one('broadcast', [[2, 1, 3, 1, 2, 1]], { shape: [2, 2, 3, 2, 2, 2] }),
	one('sum', [[2, 3, 4]], { axes: [0, 2] }),
	one('amax', [[3, 4]], { axes: [1] }),
	one('linear', [[2, 3, 4], [5, 4], [5]], {}),
	one(
		'lowRank',
		[
			[2, 3, 5],
			[2, 3, 4],
			[2, 4],
			[5, 2],
		],
		{},
	),
	one(
		'lowRankConv',
		[
			[1, 3, 4, 4],
			[1, 2, 4, 4],
			[2, 2, 3, 3],
			[3, 2, 1, 1],
		],
		PLAIN,
	),
	...(['silu', 'gelu', 'quickGelu', 'softmax'] as const).map((op) => one(op, [[3, 5]], {})),
	one('layerNorm', [[2, 3, 6], [6], [6]], { epsilon: 1e-5 }),
	one('groupNorm', [[2, 4, 3, 2], [4], [4]], { groups: 2, epsilon: 1e-5 }),
	one(
		'attention',
		[
			[2, 4, 6],
			[2, 3, 6],
			[2, 3, 6],
		],
		{ heads: 2, scale: 0.6, causal: false, slices: 2 },
	),
	one(
		'attention',
		[
			[1, 4, 6],
			[1, 4, 6],
			[1, 4, 6],
		],
		{ heads: 3, scale: 0.6, causal: true, slices: 1 },
	),
	one('upsampleNearest', [[1, 2, 3, 3]], { height: 5, width: 6 }),
];

describe.each(CASES)('gradient of $op $shapes $attributes', (c) => {
	it('is that of the float64 engine by central differences', async () => {
		const { graph, feeds } = record(c);
		const got = gradients(graph, feeds);
		const want = await centralDifferences(graph, feeds);
		const largest = Math.max(...want.flatMap((g) => [...g].map(Math.abs)));
		for (const [i, gradient] of want.entries()) {
			expect(got[i]).toHaveLength(gradient.length);
			// Single precision, and differences that are right to about 1e-8.
			for (const [j, value] of gradient.entries())
				expect(Math.abs((got[i]?.[j] ?? Number.NaN) - value)).toBeLessThanOrEqual(2e-5 * Math.max(1, largest));
		}
		if (!['sign', 'greater'].includes(c.op)) expect(largest).toBeGreaterThan(0.01);
	});
});

// TensorFlow.js' own gradient by the filter is checked above; WebAssembly, which lacks it, gets this one.
it.each([
	[1, 'same'],
	[2, 'same'],
	[2, 'valid'],
] as const)('the gradient by a filter in other operations is the same at stride %i, %s', (stride, pad) => {
	tf.tidy(() => {
		const x = tf.tensor4d(random([2, 7, 6, 3], 1).data, [2, 7, 6, 3]);
		const filter = tf.tensor4d(random([3, 2, 3, 4], 2).data, [3, 2, 3, 4]);
		const y = tf.conv2d(x, filter, stride, pad);
		const dy = tf.tensor4d(random(y.shape, 3).data, y.shape);
		const want = tf
			.grad((f) => tf.sum(tf.mul(tf.conv2d(x, f as tf.Tensor4D, stride, pad), dy)))(filter)
			.dataSync();
		const got = filterGradient(tf, x, dy, { filterShape: filter.shape, strides: [stride, stride], pad }).dataSync();
		expect(got).toHaveLength(want.length);
		// Sums of up to 84 products, in another order.
		for (const [i, value] of want.entries()) expect(Math.abs((got[i] ?? Number.NaN) - value)).toBeLessThanOrEqual(5e-6);
	});
});

it('no gradient flows through stopGradient, and one beside it does', async () => {
	const b = createGraphBuilder();
	const x = b.input('x0', [3]);
	b.output('y', b.apply('sum', [b.apply('mul', [x, b.apply('stopGradient', [x], {})], {})], { axes: [0] }));
	const feeds = { x0: random([3], 4) };
	expect(gradients(b.graph(), feeds)[0]).toEqual(feeds.x0.data);
});

it('a gradient leaves no tensors behind', () => {
	const c = CASES.find(({ op }) => op === 'attention') as Case;
	const { graph, feeds } = record(c);
	const before = tf.memory();
	gradients(graph, feeds);
	expect(tf.memory().numTensors).toBe(before.numTensors);
	expect(tf.memory().numBytes).toBe(before.numBytes);
});

/** One operation, its result weighted with fixed numbers and summed: one scalar of all operands. */
function record({ op, shapes, attributes, range }: Case): { graph: Graph; feeds: Record<string, HostTensor> } {
	const b = createGraphBuilder();
	const feeds: Record<string, HostTensor> = {};
	const operands = shapes.map((shape, i): Value => {
		feeds[`x${i}`] = random(shape, 31 * i + 7, ...range);
		return b.input(`x${i}`, shape);
	});
	const y = b.apply(op, operands, attributes);
	const weighted = b.apply('mul', [y, b.constant(random(y.shape.map(Number), 99))], {});
	b.output('y', b.apply('sum', [weighted], { axes: y.shape.map((_, i) => i) }));
	return { graph: b.graph(), feeds };
}

function gradients(graph: Graph, feeds: Readonly<Record<string, HostTensor>>): Float32Array[] {
	const lowered = lowerGraph(graph, { kernels: TFJS_KERNELS });
	return tf.tidy(() => {
		const constants = lowered.constants.map(({ value, tensor }): [number, tf.Tensor] => [
			value,
			tf.tensor(Float32Array.from(tensor.data), [...tensor.shape]),
		]);
		const loss = (...xs: tf.Tensor[]): tf.Tensor => {
			const inputs = lowered.inputs.map(({ value }, i): [number, tf.Tensor] => [value, xs[i] as tf.Tensor]);
			const [y] = [...evaluateGraph(context, lowered, new Map([...constants, ...inputs])).values()];
			return tf.reshape(y as tf.Tensor, []);
		};
		const at = lowered.inputs.map(({ name }) => {
			const { shape, data } = feeds[name] as HostTensor;
			return tf.tensor(Float32Array.from(data), [...shape]);
		});
		return tf
			.grads(loss)(at)
			.map((g) => g.dataSync() as Float32Array);
	});
}

async function centralDifferences(graph: Graph, feeds: Readonly<Record<string, HostTensor>>): Promise<Float64Array[]> {
	const session = await createFloat64Engine().load(graph, memoryWeights({}));
	const step = 1e-4;
	const out: Float64Array[] = [];
	for (const { name } of graph.inputs) {
		const feed = feeds[name] as HostTensor;
		const gradient = new Float64Array(countOf(feed.shape));
		for (const i of gradient.keys()) {
			const at = async (by: number): Promise<number> => {
				const data = Float64Array.from(feed.data);
				data[i] = (data[i] ?? 0) + by;
				const { y } = await session.run({ ...feeds, [name]: { dtype: 'f64', shape: feed.shape, data } });
				return y?.data[0] ?? Number.NaN;
			};
			gradient[i] = ((await at(step)) - (await at(-step))) / (2 * step);
		}
		out.push(gradient);
	}
	return out;
}
