import { FormatError } from '@lorakit/format';
import { BINARY, type Graph, type GraphNode, lowerGraph, type Shape, UNARY } from '../../graph/index.js';
import type { BinaryName, UnaryName } from '../../graph/op-table.js';
import { countOf, type HostTensor } from '../../host-tensor.js';
import { checkFeeds } from '../check-feeds.js';
import type { Engine } from '../engine.js';
import { broadcast, concat, gather, oneHot, pad, reduce, slice } from './arrangements.js';
import type { Array64 } from './array64.js';
import { binary, unary } from './elementwise.js';
import { conv2d, convTranspose2d, matmul, transpose } from './products.js';

/**
 * Every operation in double precision, in plain TypeScript: slow, and right. The oracle of the other engines'
 * contract test, of gradients and of error bounds. Composites are expanded, so it has no kernels that could be wrong.
 */
export function createFloat64Engine(): Engine {
	return {
		id: 'float64',
		device: 'cpu',
		async load(graph, parameters, { taps, onProgress } = {}) {
			const lowered = lowerGraph(graph, { taps });
			const fixed = new Map<number, Array64>();
			for (const { value, tensor } of lowered.constants) fixed.set(value, fromHost(tensor));
			const shapeOf = (value: number): readonly number[] => (lowered.values[value]?.shape ?? []) as readonly number[];
			// Bytes as they are read: float32.
			const total = lowered.parameters.reduce((sum, { value }) => sum + 4 * countOf(shapeOf(value)), 0);
			let done = 0;
			for (const { name, value } of lowered.parameters) {
				const values = await parameters.read(name);
				fixed.set(value, { shape: shapeOf(value), data: Float64Array.from(values) });
				done += values.byteLength;
				onProgress?.(done, total);
			}
			const lastUse = lastUses(lowered);
			return {
				graph: lowered,
				async run(feeds) {
					const sizes = checkFeeds(lowered, feeds);
					const values = new Map(fixed);
					for (const { name, value } of lowered.inputs) {
						const feed = feeds[name];
						if (feed !== undefined) values.set(value, fromHost(feed));
					}
					for (const [i, node] of lowered.nodes.entries()) {
						values.set(node.output, evaluate(node, values, sizes));
						for (const id of lastUse[i] ?? []) values.delete(id);
					}
					return Object.fromEntries(
						lowered.outputs.map(({ name, value }): [string, HostTensor] => {
							const { shape, data } = need(values.get(value));
							return [name, { dtype: 'f64', shape, data }];
						}),
					);
				},
				async close() {
					fixed.clear();
				},
			};
		},
	};
}

const isUnary = (op: string): op is UnaryName => (UNARY as readonly string[]).includes(op);
const isBinary = (op: string): op is BinaryName => (BINARY as readonly string[]).includes(op);

function evaluate(node: GraphNode, values: ReadonlyMap<number, Array64>, sizes: ReadonlyMap<string, number>): Array64 {
	const inputs = node.inputs.map((id) => need(values.get(id)));
	const [a, b, c] = inputs;
	const x = need(a);
	const concrete = (shape: Shape): number[] => shape.map((d) => (typeof d === 'number' ? d : (sizes.get(d) ?? 0)));
	if (isUnary(node.op)) return unary(node.op, x);
	if (isBinary(node.op)) return binary(node.op, x, need(b));
	switch (node.op) {
		case 'matmul':
			return matmul(x, need(b), node.attributes);
		case 'conv2d':
			return conv2d(x, need(b), c, node.attributes);
		case 'convTranspose2d':
			return convTranspose2d(x, need(b), node.attributes);
		case 'reshape':
			return { shape: concrete(node.attributes.shape), data: x.data };
		case 'transpose':
			return transpose(x, node.attributes.permutation);
		case 'slice':
			return slice(x, node.attributes);
		case 'concat':
			return concat(inputs, node.attributes.axis);
		case 'pad':
			return pad(x, node.attributes);
		case 'broadcast':
			return broadcast(x, concrete(node.attributes.shape));
		case 'sum':
		case 'amax':
			return reduce(x, node.attributes.axes, node.op);
		case 'gather':
			return gather(x, need(b));
		case 'oneHot':
			return oneHot(x, node.attributes.depth);
		case 'stopGradient':
		case 'after':
			return x;
		default:
			throw new FormatError('E_INTERNAL', `${node.scope}: the float64 engine has no ${node.op}.`);
	}
}

/** For each node, the values that nothing needs after it. */
function lastUses(graph: Graph): readonly (readonly number[])[] {
	const last = new Map<number, number>();
	for (const [i, node] of graph.nodes.entries()) for (const id of [...node.inputs, node.output]) last.set(id, i);
	for (const { value } of [...graph.outputs, ...graph.parameters]) last.delete(value);
	for (const { value } of graph.constants) last.delete(value);
	const out: number[][] = graph.nodes.map(() => []);
	for (const [id, i] of last) out[i]?.push(id);
	return out;
}

function fromHost({ shape, data }: HostTensor): Array64 {
	if (data.length !== countOf(shape))
		throw new FormatError('E_SHAPE', `A tensor of shape (${shape.join(', ')}) has ${data.length} elements.`);
	return { shape, data: data instanceof Float64Array ? data : Float64Array.from(data) };
}

function need<T>(value: T | undefined): T {
	if (value === undefined) throw new TypeError('a value is missing');
	return value;
}
