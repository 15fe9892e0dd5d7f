import type { Graph } from '@lorakit/runtime';
import type { GradientRequest } from '../gradient-engine.js';
import { shapeBytes } from '../live-bytes.js';
import { planGradients } from './plan-gradients.js';
import { recordedBytes } from './plan-segments.js';

/**
 * About the most bytes of tensors of one forward and backward pass beside the weights: what segments keep for later ones, and what
 * the tape and the backward pass hold of the largest. Sizes with names count as 1.
 * @throws {FormatError} those of `planGradients`
 */
export function tapeBytes(graph: Graph, request: GradientRequest): number {
	const { graph: lowered, segments } = planGradients(graph, request, undefined);
	const kept = new Set(segments.flatMap(({ outgoing }) => outgoing));
	const largest = Math.max(0, ...segments.map(({ nodes }) => nodes.reduce((sum, node) => sum + recordedBytes(lowered, node), 0)));
	return [...kept].reduce((sum, id) => sum + shapeBytes(lowered.values[id]?.shape ?? []), 0) + largest;
}
