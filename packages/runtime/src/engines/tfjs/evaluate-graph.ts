import type { Tensor } from '@tensorflow/tfjs';
import type { Graph, GraphNode, OpName, Shape } from '../../graph/index.js';
import type { TfjsContext } from './kernel.js';
import { runKernel } from './kernels.js';

export interface EvaluateOptions {
	/** Sizes that have names. */
	readonly sizes?: ReadonlyMap<string, number> | undefined;
	/** Values that are laid out for the one operation that takes them (`PreparedWeights.prepared`). */
	readonly prepared?: ReadonlySet<number> | undefined;
}

/**
 * Compute a lowered graph (`lowerGraph` with `TFJS_KERNELS`) at once; `values` holds its inputs, parameters and
 * constants, which stay the caller's. A function that calls this can be differentiated by `tf.variableGrads`: what the
 * gradient needs outlives the disposal of intermediate values.
 *
 * @returns the outputs by value, each a tensor that the caller disposes
 */
export function evaluateGraph(
	context: TfjsContext,
	graph: Graph,
	values: ReadonlyMap<number, Tensor>,
	options: EvaluateOptions = {},
): ReadonlyMap<number, Tensor> {
	const steps = evaluationSteps(context, graph, values, options);
	for (;;) {
		const step = steps.next();
		if (step.done === true) return step.value;
	}
}

/** A node that is about to be computed. */
export interface EvaluationStep {
	readonly node: GraphNode;
	/** Of its result. */
	readonly shape: readonly number[];
	/** Shapes of its operands. */
	readonly operands: readonly (readonly number[])[];
}

/** The same, with a pause before each node. Given up early, it disposes what it made. */
export function* evaluationSteps(
	context: TfjsContext,
	graph: Graph,
	values: ReadonlyMap<number, Tensor>,
	{ sizes = new Map(), prepared = new Set() }: EvaluateOptions = {},
): Generator<EvaluationStep, ReadonlyMap<number, Tensor>, undefined> {
	const made = new Map<number, Tensor>();
	const tensorOf = (id: number): Tensor => {
		const found = made.get(id) ?? values.get(id);
		if (found === undefined) throw new TypeError(`value ${id} is used before it is made`);
		return found;
	};
	const concrete = (shape: Shape): number[] => shape.map((d) => (typeof d === 'number' ? d : sizeOfName(sizes, d)));
	const lastUse = lastUses(graph);
	const outputs = new Map<number, Tensor>();
	try {
		for (const [i, node] of graph.nodes.entries()) {
			const shape = concrete(graph.values[node.output]?.shape ?? []);
			const inputs = node.inputs.map(tensorOf);
			yield { node, shape, operands: inputs.map((t) => t.shape) };
			made.set(node.output, compute(context, node, inputs, shape, prepared));
			for (const id of lastUse[i] ?? []) {
				made.get(id)?.dispose();
				made.delete(id);
			}
		}
		for (const { value } of graph.outputs) if (!outputs.has(value)) outputs.set(value, context.tf.clone(tensorOf(value)));
		return outputs;
	} finally {
		for (const tensor of made.values()) tensor.dispose();
	}
}

function compute(
	context: TfjsContext,
	node: GraphNode,
	inputs: readonly Tensor[],
	shape: readonly number[],
	prepared: ReadonlySet<number>,
): Tensor {
	const weight = node.inputs[1];
	// The attributes belong to `op`: they are those of one node.
	return runKernel<OpName>(context, node.op, inputs, node.attributes, shape, weight !== undefined && prepared.has(weight));
}

function sizeOfName(sizes: ReadonlyMap<string, number>, name: string): number {
	const found = sizes.get(name);
	if (found === undefined) throw new TypeError(`the size ${name} is not known`);
	return found;
}

/** For each node, the values that nothing needs after it. */
function lastUses(graph: Graph): readonly (readonly number[])[] {
	const last = new Map<number, number>();
	for (const [i, node] of graph.nodes.entries()) for (const id of [...node.inputs, node.output]) last.set(id, i);
	for (const { value } of graph.outputs) last.delete(value);
	const out: number[][] = graph.nodes.map(() => []);
	for (const [id, i] of last) out[i]?.push(id);
	return out;
}
