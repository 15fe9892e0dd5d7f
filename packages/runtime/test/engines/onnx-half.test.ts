import { describe, expect, it } from 'vitest';
import { createFloat64Engine } from '../../src/engines/float64/index.js';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import { lowerToOnnx, ONNX_KERNELS } from '../../src/engines/onnx/lower-to-onnx.js';
import type { OnnxModel } from '../../src/engines/onnx/onnx-model.js';
import { createGraphBuilder, lowerGraph, type Value } from '../../src/graph/index.js';
import { roundF16 } from '../../src/random/round-half.js';
import { engineContract } from './engine-contract.js';

// Each operand of a product is rounded to 11 bits, 4.9e-4 at most, and so is the result; sums are of float32.
engineContract('onnx cpu, fp16', () => createOnnxEngine({ precision: 'fp16' }), {
	oracle: createFloat64Engine(),
	tolerance: 2e-3,
	kept: roundF16,
});

type Build = (b: ReturnType<typeof createGraphBuilder>, x: Value) => Value;

/** The model of what `build` makes of x (2, 4, 8), with weights that are stored as float16. */
function modelOf(build: Build, stored: 'float16' | 'float32' | 'bfloat16' = 'float16'): OnnxModel {
	const b = createGraphBuilder();
	b.output('y', build(b, b.input('x', [2, 4, 8])));
	return lowerToOnnx(lowerGraph(b.graph(), { kernels: ONNX_KERNELS }), () => ({ dtype: stored, data: { raw: new Uint8Array() } }), 'fp16');
}

/** What becomes what by a cast, in order. */
function castsOf({ nodes }: OnnxModel): readonly string[] {
	const maker = new Map(nodes.map(({ output, opType }) => [output, opType]));
	return nodes
		.filter(({ opType }) => opType === 'Cast')
		.map(({ inputs: [from = ''], attributes: { to } }) => `${maker.get(from) ?? from} to ${JSON.stringify(to)}`);
}

const F32 = '{"int":1}';
const F16 = '{"int":10}';
const linear: Build = (b, x) => b.apply('linear', [x, b.parameter('w', [8, 8]), b.parameter('bias', [8])], {});

describe('a graph in half precision', () => {
	it('takes float16 weights as they are, and has float32 outside', () => {
		const model = modelOf(linear);
		expect(castsOf(model)).toEqual([`in.x to ${F16}`, `Reshape to ${F32}`]);
		expect([...model.inputs, ...model.outputs].map(({ dtype }) => dtype)).toEqual(['float32', 'float32']);
	});

	it.each(['float32', 'bfloat16'] as const)('converts weights that are stored as %s', (stored) => {
		expect(castsOf(modelOf(linear, stored))).toEqual([`in.x to ${F16}`, `w.w to ${F16}`, `w.bias to ${F16}`, `Reshape to ${F32}`]);
	});

	it('norms in float32, and converts a value once for all who read it', () => {
		const model = modelOf((b, x) => {
			const normed = b.apply('layerNorm', [linear(b, x), b.parameter('g', [8]), b.parameter('h', [8])], { epsilon: 1e-5 });
			const [q, k] = ['q', 'k'].map((name) => b.apply('linear', [normed, b.parameter(name, [8, 8])], {})) as [Value, Value];
			return b.apply('add', [q, k], {});
		});
		expect(castsOf(model)).toEqual([
			...[`in.x to ${F16}`, `Reshape to ${F32}`, `w.g to ${F32}`, `w.h to ${F32}`],
			...[`LayerNormalization to ${F16}`, `Add to ${F32}`],
		]);
	});

	it('stays in float16 between products, with constants that float16 holds', () => {
		const times =
			(factor: number): Build =>
			(b, x) => {
				const scaled = b.apply('mul', [linear(b, x), b.constant({ dtype: 'f64', shape: [], data: Float64Array.of(factor) })], {});
				return b.apply('linear', [b.apply('silu', [scaled], {}), b.parameter('v', [8, 8])], {});
			};
		const dtypes = (factor: number): readonly string[] => castsOf(modelOf(times(factor))).filter((cast) => cast.endsWith(F32));
		expect(dtypes(0.125)).toHaveLength(1);
		// 1e-6 would be 9.5e-7, 1e5 infinite: float32 then.
		expect(dtypes(1e-6)).toHaveLength(2);
		expect(dtypes(1e5)).toHaveLength(2);
	});

	it('only waits for what comes before, in whatever type that is', () => {
		const model = modelOf((b, x) => b.apply('after', [linear(b, x), b.apply('exp', [x], {})], {}));
		expect(castsOf(model)).toEqual([`in.x to ${F16}`, `Reshape to ${F32}`]);
	});
});
