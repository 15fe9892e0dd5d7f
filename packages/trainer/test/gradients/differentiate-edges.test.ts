import { createFloat64Engine, createGraphBuilder, type Graph, type HostTensor, type Value } from '@lorakit/runtime';
import { createOnnxEngine } from '@lorakit/runtime/engines/onnx';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { blocksOfNodes } from '../../src/gradients/block-of-nodes.js';
import { differentiate, gradientName } from '../../src/gradients/differentiate.js';
import { engineGradients } from '../../src/gradients/engine-gradients.js';
import { attentionDerivative } from '../../src/gradients/rules/attention-derivative.js';
import { createTfjsGradientEngine } from '../../src/gradients/tfjs/index.js';
import { RANDOM_GRAPHS } from './random-graphs.js';
import { apart, differences, largest, memoryWeights, NO_WEIGHTS, random } from './support.js';

const float64 = createFloat64Engine();
const exact = engineGradients(float64);

/** Richardson's rule in double precision is right to about 1e-10 where values are near 1. */
const DIFFERENCES = 5e-9;

type Build = (b: ReturnType<typeof createGraphBuilder>, x: Value, y: Value) => Value;

const all = (v: Value): { readonly axes: readonly number[] } => ({ axes: v.shape.map((_, i) => i) });
const squares = (b: ReturnType<typeof createGraphBuilder>, v: Value): Value => b.apply('mul', [v, v], {});

/** x and y are (2, 6); the result is squared and summed. */
const CASES: readonly (readonly [string, Build])[] = [
	['a value that one node takes twice', (b, x) => b.apply('matmul', [x, x], { transposeA: false, transposeB: true })],
	[
		'a value used whole and in two pieces that are it together',
		(b, x, y) =>
			b.apply(
				'concat',
				[
					b.apply('mul', [b.apply('slice', [x], { axis: 1, start: 0, end: 2 }), b.apply('slice', [y], { axis: 1, start: 4, end: 6 })], {}),
					b.apply('exp', [b.apply('slice', [x], { axis: 1, start: 2, end: 6 })], {}),
					x,
				],
				{ axis: 1 },
			),
	],
	[
		'pieces that overlap, leave gaps and repeat',
		(b, x) =>
			b.apply(
				'concat',
				[
					b.apply('slice', [x], { axis: 1, start: 0, end: 3 }),
					b.apply('slice', [x], { axis: 1, start: 2, end: 5 }),
					b.apply('slice', [x], { axis: 1, start: 2, end: 5 }),
				],
				{ axis: 1 },
			),
	],
	[
		'pieces along both axes',
		(b, x) =>
			b.apply(
				'mul',
				[
					b.apply('slice', [x], { axis: 0, start: 1, end: 2 }),
					b.apply('sum', [b.apply('slice', [x], { axis: 1, start: 0, end: 6 })], { axes: [0] }),
				],
				{},
			),
	],
	[
		'a piece of nothing',
		(b, x) =>
			b.apply('concat', [b.apply('slice', [x], { axis: 1, start: 0, end: 0 }), b.apply('slice', [x], { axis: 1, start: 0, end: 6 })], {
				axis: 1,
			}),
	],
	[
		'a value that is an output too, and is used after it',
		(b, x, y) => {
			const inner = b.apply('mul', [x, y], {});
			b.output('inner', inner);
			b.output('x again', x);
			return b.apply('add', [inner, b.apply('sin', [inner], {})], {});
		},
	],
	['constants alone beside it', (b, x) => b.apply('mul', [x, b.constant(random([2, 6], 9))], {})],
	[
		'a broadcast of one row and one column',
		(b, x, y) => b.apply('mul', [b.apply('sum', [x], { axes: [0] }), b.apply('sum', [y], { axes: [1] })], {}),
	],
];

describe('differentiate', () => {
	it.each(CASES)('loses nothing of %s', async (_, build) => {
		const graph = record(build);
		const feeds = { x: random([2, 6], 1), y: random([2, 6], 2) };
		const session = await float64.load(graph, NO_WEIGHTS);
		for (const memory of ['fast', 'lean'] as const) {
			const { gradients } = await (await exact.load(graph, { loss: 'loss', wrt: ['x', 'y'], memory }, NO_WEIGHTS)).run(feeds);
			for (const name of ['x', 'y']) {
				const want = await differences(session, feeds, name);
				expect(apart(gradients[name]?.data, want), name).toBeLessThanOrEqual(DIFFERENCES * Math.max(1, largest(want)));
			}
		}
	});

	it.each([
		['float64', async () => exact],
		['onnx', async () => engineGradients(await createOnnxEngine())],
		['tfjs', () => createTfjsGradientEngine({ backend: 'cpu' })],
	] as const)('gives one for a loss that is the wanted input itself, used elsewhere or not: %s', async (_, create) => {
		const engine = await create();
		for (const used of [false, true]) {
			const b = createGraphBuilder();
			const x = b.input('x', [1]);
			b.output('loss', x);
			b.output('more', used ? b.apply('exp', [x], {}) : b.apply('exp', [b.input('y', [1])], {}));
			const session = await engine.load(b.graph(), { loss: 'loss', wrt: ['x'], memory: 'fast' }, NO_WEIGHTS);
			const { gradients } = await session.run({ x: random([1], 1), y: random([1], 2) });
			expect([...(gradients['x']?.data ?? [])]).toEqual([1]);
			await session.close();
		}
	});

	it('refuses the gradient by whole numbers', () => {
		const b = createGraphBuilder();
		const rows = b.apply('gather', [b.input('table', [3, 1]), b.input('ids', [2], 'i32')], {});
		b.output('loss', b.apply('sum', [rows], { axes: [0, 1] }));
		expect(() => differentiate(b.graph(), { loss: 'loss', wrt: ['ids'], memory: 'fast' })).toThrow(TypeError);
	});

	it('gives the same bits where blocks are computed again, wherever they end', async () => {
		let cutUp = 0;
		await fc.assert(
			fc.asyncProperty(RANDOM_GRAPHS, fc.array(fc.nat(), { minLength: 1, maxLength: 4 }), async ({ graph, feeds, wrt, weights }, picks) => {
				const taps = picks.map((n, i) => ({ name: `m.layers.${i}`, value: graph.nodes[n % graph.nodes.length]?.output ?? 0 }));
				const cut: Graph = { ...graph, taps };
				if (new Set(blocksOfNodes(cut)).size > 1) cutUp++;
				const [fast, lean] = await Promise.all(
					(['fast', 'lean'] as const).map(async (memory) =>
						(await exact.load(cut, { loss: 'loss', wrt, memory }, memoryWeights(weights))).run(feeds),
					),
				);
				expect(lean?.gradients).toEqual(fast?.gradients);
				expect(lean?.outputs).toEqual(fast?.outputs);
			}),
			{ numRuns: 60 },
		);
		expect(cutUp).toBeGreaterThan(20);
	});

	it.each([
		[false, 5, 7],
		[true, 6, 6],
		[false, 4, 1],
	] as const)('of attention is the same in slices of rows: causal %s, %i by %i', async (causal, rows, columns) => {
		const feeds: Record<string, HostTensor> = {
			q: random([2, rows, 6], 1),
			k: random([2, columns, 6], 2),
			v: random([2, columns, 6], 3),
			g: random([2, rows, 6], 4),
		};
		const want = await attentionGradients(causal, rows, columns, feeds, undefined);
		// One row at a time, three at a time with a rest, and all at once.
		for (const scores of [1, 3 * 2 * 2 * columns, 1e9]) {
			const got = await attentionGradients(causal, rows, columns, feeds, scores);
			for (const name of ['q', 'k', 'v']) {
				// Central differences: see DIFFERENCES.
				expect(apart(got[name]?.data, want[name]?.data), `${name} ${scores}`).toBeLessThanOrEqual(DIFFERENCES);
			}
		}
	});
});

function record(build: Build): Graph {
	const b = createGraphBuilder();
	const result = squares(b, build(b, b.input('x', [2, 6]), b.input('y', [2, 6])));
	b.output('loss', b.apply('sum', [result], all(result)));
	return b.graph();
}

/** d sum(g * attention(q, k, v)) by q, k and v: by `scores` scores at once, else of what attention stands for, softmax and products. */
async function attentionGradients(
	causal: boolean,
	rows: number,
	columns: number,
	feeds: Readonly<Record<string, HostTensor>>,
	scores: number | undefined,
): Promise<Readonly<Record<string, HostTensor>>> {
	const b = createGraphBuilder();
	const [q, k, v, g] = [
		b.input('q', [2, rows, 6]),
		b.input('k', [2, columns, 6]),
		b.input('v', [2, columns, 6]),
		b.input('g', [2, rows, 6]),
	];
	const attributes = { heads: 2, scale: 0.7, causal, slices: 1 };
	const y = b.apply('attention', [q, k, v], attributes);
	if (scores === undefined) {
		const weighted = b.apply('mul', [y, g], {});
		b.output('loss', b.apply('sum', [weighted], all(weighted)));
		const session = await float64.load(b.graph(), NO_WEIGHTS);
		const out: Record<string, HostTensor> = {};
		for (const name of ['q', 'k', 'v']) {
			out[name] = { dtype: 'f64', shape: feeds[name]?.shape ?? [], data: await differences(session, feeds, name) };
		}
		return out;
	}
	const operands = [q, k, v];
	const made = attentionDerivative(scores)({
		ops: b,
		attributes,
		gradient: g,
		count: 3,
		needs: () => true,
		shape: (i) => operands[i]?.shape ?? [],
		input: (i) => operands[i] ?? q,
		output: () => y,
	});
	for (const [i, name] of ['q', 'k', 'v'].entries()) {
		const value = made[i];
		const zero = b.apply('mul', [operands[i] ?? q, b.constant({ dtype: 'f64', shape: [], data: Float64Array.of(0) })], {});
		b.output(gradientName(name), value === undefined || 'part' in value ? zero : value);
	}
	const all64 = await (await float64.load(b.graph(), NO_WEIGHTS)).run(feeds);
	return Object.fromEntries(['q', 'k', 'v'].map((name) => [name, all64[gradientName(name)] as HostTensor]));
}
