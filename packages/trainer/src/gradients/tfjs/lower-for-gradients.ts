import { type CompositeName, type Graph, type GraphNode, lowerGraph } from '@lorakit/runtime';
import { TFJS_KERNELS } from '@lorakit/runtime/engines/tfjs';
import type { TrainingMemory } from '../gradient-engine.js';

/** Bytes of scores of one slice of attention in `lean`; a tape and its backward pass hold them some ten times. */
const SLICE_BYTES = 2 ** 23;

/** Attention is written out in `lean`, so that a segment can end between two slices. */
const LEAN_KERNELS: ReadonlySet<CompositeName> = new Set([...TFJS_KERNELS].filter((name) => name !== 'attention'));

/** The graph in operations that TensorFlow.js has kernels for. */
export function lowerForGradients(graph: Graph, memory: TrainingMemory, taps: readonly string[] | undefined): Graph {
	if (memory === 'fast') return lowerGraph(graph, { kernels: TFJS_KERNELS, taps });
	const nodes = graph.nodes.map((node) => sliced(graph, node));
	return lowerGraph({ ...graph, nodes }, { kernels: LEAN_KERNELS, taps });
}

function sliced(graph: Graph, node: GraphNode): GraphNode {
	if (node.op !== 'attention') return node;
	const [q, k] = node.inputs.map((id) => graph.values[id]?.shape.map(Number) ?? []);
	const [batch = 1, rows = 1] = q ?? [];
	const columns = k?.[1] ?? 1;
	const bytes = 4 * batch * node.attributes.heads * rows * columns;
	const slices = Math.min(rows, Math.max(node.attributes.slices, Math.ceil(bytes / SLICE_BYTES)));
	return { ...node, attributes: { ...node.attributes, slices } };
}
