import type { Graph, GraphNode, Shape } from '@lorakit/runtime';

/** Operations whose result is their first operand's memory under another shape. */
const SAME_MEMORY: ReadonlySet<GraphNode['op']> = new Set<GraphNode['op']>(['reshape', 'after', 'stopGradient']);

/**
 * Most bytes of float32 that a graph's values have at one time, when its nodes run in their order: a value lives from the node that
 * makes it to the last one that uses it, an output to the end. Parameters, constants and inputs are not counted; a size that has only a
 * name (a rank) is 1.
 *
 * @param workspace bytes that a node takes besides, while it runs
 */
export function peakLiveBytes(graph: Graph, workspace: (node: GraphNode, bytesOf: (id: number) => number) => number = () => 0): number {
	const bytesOf = (id: number): number => shapeBytes(graph.values[id]?.shape ?? []);
	/** The value whose memory a value is. */
	const holder = graph.values.map((_, id) => id);
	const memoryOf = (id: number): number => holder[id] ?? id;
	const lastUse = new Map<number, number>();
	for (const [i, { op, inputs, output }] of graph.nodes.entries()) {
		const [first] = inputs;
		if (SAME_MEMORY.has(op) && first !== undefined) holder[output] = memoryOf(first);
		// What nothing uses is gone at once.
		lastUse.set(memoryOf(output), i);
		for (const id of inputs) lastUse.set(memoryOf(id), i);
	}
	for (const { value } of graph.outputs) lastUse.set(memoryOf(value), graph.nodes.length);
	for (const { value } of [...graph.inputs, ...graph.parameters, ...graph.constants]) lastUse.delete(value);

	const endsAt = new Map<number, number>();
	for (const [id, i] of lastUse) endsAt.set(i, (endsAt.get(i) ?? 0) + bytesOf(id));
	let [live, peak] = [0, 0];
	for (const [i, node] of graph.nodes.entries()) {
		if (memoryOf(node.output) === node.output) live += bytesOf(node.output);
		peak = Math.max(peak, live + workspace(node, bytesOf));
		live -= endsAt.get(i) ?? 0;
	}
	return peak;
}

/** Bytes of float32 of a graph's parameters, each once. */
export function parameterBytes({ parameters, values }: Graph): number {
	return parameters.reduce((sum, { value }) => sum + shapeBytes(values[value]?.shape ?? []), 0);
}

/** Bytes of float32 of a shape; a size that has only a name is 1. */
export function shapeBytes(shape: Shape): number {
	return shape.reduce<number>((product, d) => product * (typeof d === 'number' ? d : 1), 4);
}
