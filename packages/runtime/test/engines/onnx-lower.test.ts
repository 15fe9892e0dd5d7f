import { describe, expect, it } from 'vitest';
import { lowerToOnnx, ONNX_KERNELS } from '../../src/engines/onnx/lower-to-onnx.js';
import { createGraphBuilder, lowerGraph } from '../../src/graph/index.js';

/** norm -> linear + low rank -> slice -> attention of itself, twice over the same rows. */
function model(): ReturnType<typeof lowerToOnnx> {
	const b = createGraphBuilder();
	let x = b.input('x', [2, 6, 8]);
	const [down, up] = [b.input('down', ['r', 8]), b.input('up', [16, 'r'])];
	for (const name of ['a', 'b']) {
		const half = b.scope(name, () => {
			const normed = b.apply('layerNorm', [x, b.parameter(`${name}.w`, [8]), b.parameter(`${name}.b`, [8])], { epsilon: 1e-5 });
			const wide = b.apply('linear', [normed, b.parameter(`${name}.l`, [16, 8])], {});
			return b.apply('slice', [b.apply('lowRank', [wide, normed, down, up], {})], { axis: 2, start: 0, end: 8 });
		});
		x = b.apply('attention', [half, half, half], { heads: 2, scale: 0.5, causal: false, slices: 1 });
	}
	b.output('y', x);
	const place = () => ({ dtype: 'float16', data: { raw: new Uint8Array() } }) as const;
	return lowerToOnnx(lowerGraph(b.graph(), { kernels: ONNX_KERNELS }), place);
}

describe('a graph as an ONNX model', () => {
	const { nodes, initializers, inputs, outputs } = model();

	it('makes every value before it is used, once, and uses every value it makes', () => {
		const made = new Set([...inputs, ...initializers].map(({ name }) => name));
		const used = new Set(outputs.map(({ name }) => name));
		for (const node of nodes) {
			for (const input of node.inputs) {
				expect(made).toContain(input);
				used.add(input);
			}
			expect(made).not.toContain(node.output);
			made.add(node.output);
		}
		for (const { output } of nodes) expect(used).toContain(output);
		for (const { name } of outputs) expect(made).toContain(name);
	});

	it('tells no first size, so that ONNX Runtime plans no sharing of memory', () => {
		for (const { shape } of [...inputs, ...outputs]) expect(shape[0]).toBeUndefined();
		const shapes = new Set(nodes.filter(({ opType }) => opType === 'Reshape').map(({ inputs: [, shape] }) => shape));
		for (const { name, data } of initializers) {
			if (shapes.has(name) && 'raw' in data) expect(new DataView(data.raw.buffer, data.raw.byteOffset).getBigInt64(0, true)).toBe(-1n);
		}
		expect(shapes.size).toBeGreaterThan(0);
	});

	it('has one product for a linear with what is added, and one view of rows for all that read them', () => {
		const count = (opType: string) => nodes.filter((node) => node.opType === opType).length;
		expect(count('Gemm')).toBe(2 * 3);
		expect(count('Reshape')).toBe(2 * 2);
		expect(count('Cast')).toBe(2 * 3);
	});

	it('names nodes after the part of the model that they are in', () => {
		expect(nodes.filter(({ opType }) => opType === 'LayerNormalization').map(({ name }) => name.replace(/#\d+$/, ''))).toEqual(['a', 'b']);
	});
});
