import type { Graph, GraphNode, OpName } from '../../graph/index.js';

/** What an engine computes in: all in float32, or products in float16 and the rest in whichever of the two it needs. */
export type Precision = 'fp32' | 'fp16';

/** A value's type in the ONNX model, before any is asked for in another one. */
export type FloatDType = 'float32' | 'float16' | 'bfloat16';

/**
 * Products: where the time goes and where float16 has units of its own. They sum in float32 inside (on graphics cards).
 * This and the next set follow torch's autocast (pytorch/pytorch aten/src/ATen/autocast_mode.h).
 */
const HALF: ReadonlySet<OpName> = new Set<OpName>(['matmul', 'conv2d', 'convTranspose2d', 'linear', 'lowRank', 'attention']);

/** Where float16 has too few digits or too small a range: sums over many values, powers, quotients. */
const SINGLE: ReadonlySet<OpName> = new Set<OpName>([
	'exp',
	'log',
	'sqrt',
	'erf',
	'sin',
	'cos',
	'div',
	'greater',
	'sum',
	'softmax',
	'layerNorm',
	'groupNorm',
	'gather',
	'oneHot',
]);

/** Range of float16's normal numbers, in which it keeps eleven bits. */
const LEAST = 2 ** -14;
const LARGEST = 65_504;

/**
 * The type that each node computes in. Operations in neither set take the type of their operands, the wider one where they differ; weights
 * and constants follow the others.
 */
export function nodeTypes(graph: Graph, precision: Precision): ReadonlyMap<GraphNode, 'float32' | 'float16'> {
	const types = new Map<GraphNode, 'float32' | 'float16'>();
	if (precision === 'fp32') return types;
	const adapts = new Set(graph.parameters.map(({ value }) => value));
	for (const { value, tensor } of graph.constants) {
		if (tensor.data.every((x) => x === 0 || (Math.abs(x) >= LEAST && Math.abs(x) <= LARGEST))) adapts.add(value);
	}
	const half = new Set<number>();
	for (const node of graph.nodes) {
		// Of the others it asks only when they are there.
		const operands = node.op === 'after' ? node.inputs.slice(0, 1) : node.inputs;
		const rigid = operands.filter((id) => !adapts.has(id));
		const inHalf = HALF.has(node.op) || (!SINGLE.has(node.op) && rigid.length > 0 && rigid.every((id) => half.has(id)));
		types.set(node, inHalf ? 'float16' : 'float32');
		if (inHalf) half.add(node.output);
	}
	return types;
}
