import { describe, expect, it } from 'vitest';
import { labelValues } from '../../src/engines/onnx/label-values.js';
import type { OnnxNode } from '../../src/engines/onnx/onnx-model.js';

/** More than `SMALL_ELEMENTS`. */
const LARGE = [512, 256] as const;

const node = (opType: string, inputs: readonly string[], output: string): OnnxNode => ({
	...{ name: output, opType, domain: '', inputs, output },
	attributes: {},
});

/** First sizes by name, and whether all others are as they were told. */
function labelsOf(nodes: readonly OnnxNode[], shapes: Readonly<Record<string, readonly (number | string)[]>>): Record<string, string> {
	const known = new Map(Object.entries(shapes).map(([name, shape]) => [name, { dtype: 'float32', shape }] as const));
	return Object.fromEntries(
		labelValues(nodes, known).map(({ name, dtype, shape: [first, ...rest] }) => {
			expect(dtype).toBe('float32');
			expect(rest).toEqual(shapes[name]?.slice(1));
			return [name, String(first)];
		}),
	);
}

describe('labels of values', () => {
	it('are one for an operand and a result that can be written over it, through views', () => {
		const nodes = [node('MatMul', ['x', 'w'], 'a'), node('Reshape', ['a', 'shape'], 'b'), node('Add', ['b', 'x'], 'c'), ...after('c')];
		const labels = labelsOf(nodes, { a: LARGE, b: [256, 512], c: [256, 512] });
		expect(labels['c']).toBe(labels['b']);
		// The same memory, of another first size.
		expect(labels['a']).not.toBe(labels['b']);
	});

	it('are two where the operand is needed later, or has another shape', () => {
		const nodes = [node('MatMul', ['x', 'w'], 'a'), node('Add', ['a', 'x'], 'c'), node('Add', ['a', 'c'], 'd'), ...after('c', 'd')];
		const labels = labelsOf(nodes, { a: LARGE, c: LARGE, d: LARGE });
		expect(labels['c']).not.toBe(labels['a']);
		expect(labels['d']).toBe(labels['a']);
		const broadcast = labelsOf([node('MatMul', ['x', 'w'], 'a'), node('Add', ['a', 'x'], 'c'), ...after('c')], {
			a: [1, ...LARGE],
			c: [2, ...LARGE],
		});
		expect(broadcast['c']).not.toBe(broadcast['a']);
	});

	it('are one for small values of one size, whenever they live, and say the size', () => {
		const nodes = [node('MatMul', ['x', 'w'], 'a'), ...after('a'), node('MatMul', ['x', 'w'], 'b'), ...after('b')];
		const labels = labelsOf(nodes, { a: [7, 3], b: [7, 5] });
		expect(labels['a']).toBe(labels['b']);
		expect(labelsOf(nodes, { a: [7, 3], b: [8, 3] })['b']).not.toBe(labels['a']);
	});

	it('are one for large values of one size that live and die near each other, and for no others', () => {
		const short = (name: string) => [node('MatMul', ['x', 'w'], name), node('MatMul', [name, 'w'], `${name}'`)];
		const labels = labelsOf([...short('a'), ...short('b'), ...after('b'), ...short('c')], { a: LARGE, b: LARGE, c: LARGE });
		expect(labels['a']).toBeDefined();
		expect(new Set(Object.values(labels)).size).toBe(3);
		expect(labelsOf([...short('a'), ...short('c')], { a: LARGE, c: LARGE })).toMatchObject({ c: labelsOf(short('a'), { a: LARGE })['a'] });
	});

	it('are not given to what has sizes that only have names, no axes, or is not known', () => {
		const nodes = [node('MatMul', ['x', 'w'], 'a'), node('MatMul', ['x', 'w'], 'b'), node('MatMul', ['x', 'w'], 'c')];
		expect(labelsOf(nodes, { a: [4, 'r'], b: [] })).toEqual({});
		expect(labelsOf(nodes, { a: [-1, 3] })).toEqual({});
	});
});

/** Two hundred nodes, the last of which needs the values. */
function after(...names: readonly string[]): readonly OnnxNode[] {
	const others = Array.from({ length: 200 }, (_, i) => node('Shape', ['x'], `${names.join('')}${i}`));
	return [...others, node('Concat', names, `${names.join('')} end`)];
}
