import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { createFloat64Engine } from '../../src/engines/float64/index.js';
import { createGraphBuilder, type OpAttributes, type OpName, type Shape } from '../../src/graph/index.js';
import type { HostTensor } from '../../src/host-tensor.js';
import { apart, FIXTURES } from '../fixtures.js';

interface Plain {
	readonly dtype: 'f64' | 'i32';
	readonly shape: readonly number[];
	readonly data: readonly number[];
}

interface OpCase {
	readonly op: OpName;
	readonly inputs: readonly Plain[];
	readonly attributes: OpAttributes<OpName>;
	readonly output: Plain;
}

const { cases } = JSON.parse(fs.readFileSync(path.join(FIXTURES, 'ops.json'), 'utf8')) as { readonly cases: readonly OpCase[] };
const none = { read: () => Promise.reject(new Error('no weights')), stored: () => undefined };

const host = ({ dtype, shape, data }: Plain): HostTensor =>
	dtype === 'i32' ? { dtype, shape, data: Int32Array.from(data) } : { dtype, shape, data: Float64Array.from(data) };

/** Made by torch in float64 (fixtures/runtime/make_ops.py): what an operation and its shape rule mean is torch's word. */
describe('every operation on the float64 engine is torch in float64', () => {
	it.each(cases.map((c, i) => [`${i} ${c.op} ${JSON.stringify(c.attributes)}`, c] as const))('%s', async (_, c) => {
		const ops = createGraphBuilder();
		const inputs = c.inputs.map((t, i) => ops.input(`x${i}`, t.shape, t.dtype === 'i32' ? 'i32' : 'f32'));
		const y = ops.apply(c.op, inputs, c.attributes);
		expect(y.shape).toEqual(c.output.shape);
		ops.output('y', y);
		const session = await createFloat64Engine().load(ops.graph(), none);
		const result = await session.run(Object.fromEntries(c.inputs.map((t, i) => [`x${i}`, host(t)])));
		expect(result['y']?.shape).toEqual(c.output.shape);
		// A few roundings of numbers below 100.
		expect(apart(result['y']?.data ?? [], c.output.data)).toBeLessThan(1e-12);
	});

	it('covers every operation', () => {
		const seen = new Set(cases.map(({ op }) => op));
		const all: readonly OpName[] = [
			...(['neg', 'exp', 'log', 'sqrt', 'sigmoid', 'tanh', 'erf', 'sin', 'cos', 'abs', 'sign'] as const),
			...(['add', 'sub', 'mul', 'div', 'maximum', 'greater', 'matmul', 'conv2d', 'convTranspose2d', 'reshape', 'transpose'] as const),
			...(['slice', 'concat', 'pad', 'broadcast', 'sum', 'amax', 'gather', 'oneHot', 'linear', 'lowRank', 'lowRankConv'] as const),
			...(['silu', 'gelu', 'quickGelu', 'softmax', 'layerNorm', 'groupNorm', 'attention', 'upsampleNearest'] as const),
		];
		expect(all.filter((op) => !seen.has(op))).toEqual([]);
	});
});

describe('shapes', () => {
	const shapeOf = (op: OpName, shapes: readonly Shape[], attributes: object): Shape => {
		const ops = createGraphBuilder();
		return ops.scope('unet.mid', () =>
			ops.apply(
				op,
				shapes.map((shape, i) => ops.input(`x${i}`, shape)),
				attributes as OpAttributes<OpName>,
			),
		).shape;
	};

	it('a rank passes through by its name', () => {
		expect(
			shapeOf(
				'matmul',
				[
					[2, 5, 4],
					['r', 4],
				],
				{ transposeA: false, transposeB: true },
			),
		).toEqual([2, 5, 'r']);
		expect(
			shapeOf(
				'lowRank',
				[
					[2, 3],
					[2, 4],
					['r', 4],
					[3, 'r'],
				],
				{},
			),
		).toEqual([2, 3]);
	});

	it.each([
		[
			'matmul',
			[
				[2, 3],
				[4, 5],
			],
			{ transposeA: false, transposeB: false },
		],
		[
			'linear',
			[
				[2, 4],
				[3, 5],
			],
			{},
		],
		[
			'lowRank',
			[
				[2, 3],
				[2, 4],
				['r', 4],
				[3, 's'],
			],
			{},
		],
		[
			'add',
			[
				[2, 3],
				[2, 4],
			],
			{},
		],
		['reshape', [[2, 3]], { shape: [7] }],
		['reshape', [['r', 3]], { shape: ['s', 3] }],
		['slice', [[4]], { axis: 0, start: 2, end: 5 }],
		[
			'concat',
			[
				[2, 3],
				[3, 3],
			],
			{ axis: 1 },
		],
		[
			'conv2d',
			[
				[1, 3, 8, 8],
				[4, 2, 3, 3],
			],
			{ stride: [1, 1], padding: [1, 1, 1, 1], dilation: [1, 1] },
		],
		['groupNorm', [[1, 6, 2, 2], [6], [6]], { groups: 4, epsilon: 1e-5 }],
		[
			'attention',
			[
				[1, 4, 9],
				[1, 4, 9],
				[1, 4, 9],
			],
			{ heads: 2, scale: 1, causal: false, slices: 1 },
		],
		['upsampleNearest', [[1, 2, 3, 3]], { height: 7, width: 6 }],
	] as const)('%s refuses what does not fit, with its place', (op, shapes, attributes) => {
		expect(() => shapeOf(op, shapes, attributes)).toThrow(expect.objectContaining({ code: 'E_SHAPE', at: 'unet.mid' }));
	});
});
