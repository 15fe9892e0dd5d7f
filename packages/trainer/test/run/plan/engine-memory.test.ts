import { createGraphBuilder, type Graph, type Value } from '@lorakit/runtime';
import { add, mul, reshape, sum } from '@lorakit/runtime/ops';
import { describe, expect, it } from 'vitest';
import { type EngineMemoryRequest, engineMemory } from '../../../src/run/plan/engine-memory.js';

const WRT = ['down', 'up'];

/** x -> linear w1 with factors -> linear w2 -> loss, and a norm's weight that is read as it is. */
function someGraph(rows = 8): Graph {
	const ops = createGraphBuilder();
	const x = ops.input('x', [rows, 16]);
	const [down, up] = [ops.input('down', [2, 16]), ops.input('up', [12, 2])];
	const base = ops.apply('linear', [x, ops.parameter('w1', [12, 16])], {});
	const y = ops.apply('lowRank', [base, x, down, up], {});
	const normed = ops.apply('layerNorm', [y, ops.parameter('scale', [12]), ops.parameter('shift', [12])], { epsilon: 1e-5 });
	return withLoss(ops, ops.apply('linear', [normed, ops.parameter('w2', [5, 12])], {}));
}

function withLoss(ops: ReturnType<typeof createGraphBuilder>, y: Value): Graph {
	ops.output('loss', reshape(ops, sum(ops, mul(ops, y, y), ...y.shape.map((_, i) => i)), [1]));
	return ops.graph();
}

const of = (graph: Graph, engine: Partial<EngineMemoryRequest['engine']> = {}, stored: 'F32' | 'F16' = 'F32') =>
	engineMemory({
		graph,
		wrt: WRT,
		engine: { engine: 'onnx', device: null, memory: 'fast', mixed_precision: 'no', ...engine },
		storedAs: () => stored,
	});

describe('the memory of ONNX Runtime', () => {
	it('has a weight in each form it is used in under fast, and once under lean', async () => {
		const norms = 12 + 12;
		// Backward goes through w2 alone.
		expect((await of(someGraph())).weights).toBe(4 * (12 * 16 + 2 * 5 * 12 + norms));
		expect((await of(someGraph(), { memory: 'lean' })).weights).toBe(4 * (12 * 16 + 5 * 12 + norms));
	});

	it('has a convolution in half precision as it was widened, beside what the backward pass reads', async () => {
		const ops = createGraphBuilder();
		const x = ops.input('x', [1, 3, 8, 8]);
		const conv = { stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] } as const;
		const pointwise = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1] } as const;
		const y = ops.apply(
			'lowRankConv',
			[
				ops.apply('conv2d', [x, ops.parameter('w1', [6, 3, 3, 3])], conv),
				x,
				ops.input('down', [2, 3, 3, 3]),
				ops.input('up', [6, 2, 1, 1]),
			],
			conv,
		);
		const graph = withLoss(ops, ops.apply('conv2d', [y, ops.parameter('w2', [4, 6, 1, 1])], pointwise));
		// In float32 both are rearranged, w2 for each direction.
		expect((await of(graph)).weights).toBe(4 * (6 * 27 + 2 * 24));
		expect((await of(graph, {}, 'F16')).weights).toBe(4 * (6 * 27 + 2 * 24));
		expect((await of(graph, { memory: 'lean' }, 'F16')).weights).toBe(4 * (6 * 27 + 24));
	});

	it('grows with the batch as the values of a step do', async () => {
		const [one, two] = [await of(someGraph(1000)), await of(someGraph(2000))];
		// The rest are gradients of factors and sums.
		expect(two.activations / one.activations).toBeGreaterThan(1.98);
		expect(two.activations / one.activations).toBeLessThan(2);
		expect(two.process).toBe(one.process);
	});

	it('is more where a convolution spreads its windows out', async () => {
		const graphOf = (side: number): Graph => {
			const ops = createGraphBuilder();
			const x = ops.input('x', [1, 4, 16, 16]);
			const down = ops.input('down', [2, 4, 1, 1]);
			const up = ops.input('up', [4, 2, 1, 1]);
			const pointwise = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1] } as const;
			const y = ops.apply('lowRankConv', [x, x, down, up], pointwise);
			const pad = (side - 1) / 2;
			const window = { stride: [1, 1], padding: [pad, pad, pad, pad], dilation: [1, 1] } as const;
			return withLoss(ops, ops.apply('conv2d', [y, ops.parameter('w', [4, 4, side, side])], window));
		};
		const [small, large] = [(await of(graphOf(3), { memory: 'lean' })).activations, (await of(graphOf(5), { memory: 'lean' })).activations];
		// Columns of the gradient: 4 channels of a window at each of 256 places; the arena takes a quarter more.
		expect(large - small).toBe(1.25 * 4 * 4 * (25 - 9) * 256);
	});

	it('says what was not measured', async () => {
		expect((await of(someGraph())).rule).not.toContain('guess');
		expect((await of(someGraph(), { device: 'cuda' })).rule).toContain('another device a guess');
		expect((await of(someGraph(), { mixed_precision: 'fp16' })).rule).toContain('float16 a guess');
	});
});

describe('the memory of other engines', () => {
	it('counts double precision twice, each weight once', async () => {
		const found = await of(someGraph(), { engine: 'float64' });
		expect(found.weights).toBe(8 * (12 * 16 + 5 * 12 + 24));
		expect(found.activations).toBeGreaterThan(0);
	});

	it("counts what TensorFlow.js keeps between segments: less under lean, weights twice in WebAssembly's order", async () => {
		const ops = createGraphBuilder();
		const [down, up] = [ops.input('down', [2, 16]), ops.input('up', [16, 2])];
		let x: Value = ops.input('x', [400, 16]);
		for (let i = 0; i < 12; i++) {
			const base = ops.apply('linear', [x, ops.parameter(`w${i}`, [16, 16])], {});
			x = add(ops, x, ops.apply('silu', [ops.apply('lowRank', [base, x, down, up], {})], {}));
		}
		const graph = withLoss(ops, x);
		const [fast, lean] = [await of(graph, { engine: 'tfjs' }), await of(graph, { engine: 'tfjs', memory: 'lean', device: 'wasm' })];
		expect(lean.activations).toBeLessThan(fast.activations / 2);
		expect([fast.weights, lean.weights]).toEqual([12 * 1024, 24 * 1024]);
	});
});
