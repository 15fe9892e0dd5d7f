import type { Graph, GraphNode } from '@lorakit/runtime';
import { peakLiveBytes } from './live-bytes.js';

/** A node of a graph that ONNX Runtime has loaded, with its share of the model's bytes. Measured: 72 MiB for 6,965 nodes, 87 for 8,185. */
const NODE_BYTES = 11_000;

/**
 * Memory that ONNX Runtime's arena has touched, by bytes in use at its peak: it grows by powers of two and leaves holes. Measured: 1.1 to
 * 1.6, more for fewer bytes.
 */
const ARENA_SLACK = 1.25;

/** Bytes that a loaded graph takes itself, without weights and values. */
export function graphBytes(graph: Graph): number {
	return NODE_BYTES * graph.nodes.length;
}

/** Bytes that its values take, and are held for the next run. @param workspace as of `peakLiveBytes` */
export function arenaBytes(graph: Graph, workspace?: (node: GraphNode, bytesOf: (id: number) => number) => number): number {
	return Math.round(ARENA_SLACK * peakLiveBytes(graph, workspace));
}
