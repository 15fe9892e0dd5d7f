import type { DType } from '@lorakit/format';
import { type Graph, type GraphNode, isComposite, lowerGraph, type OpName } from '@lorakit/runtime';
import type { TrainingMemory } from '../../gradients/gradient-engine.js';
import { shapeBytes } from '../../gradients/live-bytes.js';
import { arenaBytes, graphBytes } from '../../gradients/loaded-graph-bytes.js';

/** What ONNX Runtime needs for a differentiated graph on the CPU, in bytes. */
export interface OnnxMemory {
	readonly weights: number;
	readonly activations: number;
	readonly process: number;
}

const MIB = 2 ** 20;

/** Node, this library and ONNX Runtime before a graph is loaded. Measured: 110 MiB; 150 after pictures were decoded and encoded. */
const PROCESS_BYTES = 130 * MIB;

/** Operations that rearrange a constant second operand when they are loaded, and then hold that copy instead of it. */
const PACKED: ReadonlySet<OpName> = new Set<OpName>(['linear', 'matmul', 'conv2d', 'convTranspose2d']);

/**
 * @param graph differentiated (`differentiate`)
 * @param storedAs the type that a parameter is stored in; undefined where it is computed, as float32
 */
export function onnxMemory(graph: Graph, memory: TrainingMemory, storedAs: (name: string) => DType | undefined): OnnxMemory {
	const kernels = new Set(graph.nodes.map(({ op }) => op).filter(isComposite));
	// The one composite that it has no kernel for.
	kernels.delete('lowRankConv');
	const lowered = lowerGraph(graph, { kernels });
	const half = lowered.parameters.some(({ name }) => storedAs(name) === 'F16' || storedAs(name) === 'BF16');
	return {
		weights: weightBytes(lowered, memory, half),
		activations: arenaBytes(lowered, workspaceOf(lowered, memory === 'fast' && !half)),
		process: PROCESS_BYTES + graphBytes(lowered),
	};
}

/**
 * `lean` holds each weight once. `fast` holds one copy for each use that rearranges it (forward, and backward where a gradient goes
 * through), and the weight itself only where another use reads it as it is. Half precision is widened when it is loaded; its
 * convolutions are not rearranged (`createOnnxEngine` of the runtime says why).
 */
function weightBytes({ parameters, nodes, values }: Graph, memory: TrainingMemory, half: boolean): number {
	const packed = new Map<number, number>();
	const plain = new Set<number>();
	for (const { op, inputs } of nodes) {
		const packs = memory === 'fast' && PACKED.has(op) && !(half && op === 'conv2d');
		for (const [i, id] of inputs.entries()) {
			if (packs && i === 1) packed.set(id, (packed.get(id) ?? 0) + 1);
			else plain.add(id);
		}
	}
	return parameters.reduce((sum, { value }) => {
		const copies = packed.get(value) ?? 0;
		return sum + shapeBytes(values[value]?.shape ?? []) * (copies + Number(copies === 0 || plain.has(value)));
	}, 0);
}

/** What kernels of ONNX Runtime's CPU provider allocate while they run. */
function workspaceOf({ values }: Graph, blocked: boolean): (node: GraphNode, bytesOf: (id: number) => number) => number {
	const size = (id: number | undefined, axis: number): number => Number(values[id ?? -1]?.shape.at(axis) ?? 0);
	return (node, bytesOf) => {
		const [first = -1, second] = node.inputs;
		switch (node.op) {
			case 'convTranspose2d': {
				// One picture at a time, every window of the result as a column.
				const pointwise = size(second, 2) * size(second, 3) === 1 && node.attributes.stride.every((n) => n === 1);
				return pointwise ? 0 : 4 * size(second, 1) * size(second, 2) * size(second, 3) * size(first, 2) * size(first, 3);
			}
			case 'conv2d':
				// In blocks of channels: operand and result are rearranged.
				return blocked ? Math.max(bytesOf(first), bytesOf(node.output)) : 0;
			case 'groupNorm':
				// Two operations: see `lower-norms.ts` of the runtime.
				return bytesOf(node.output);
			case 'attention':
				// Queries, keys and values by head.
				return node.inputs.reduce((sum, id) => sum + bytesOf(id), 0);
			default:
				return 0;
		}
	};
}
