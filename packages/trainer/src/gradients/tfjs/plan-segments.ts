import type { Graph, GraphNode } from '@lorakit/runtime';
import { shapeBytes } from '../live-bytes.js';

/** A piece of the differentiated nodes that is recorded at once. */
export interface Segment {
	readonly nodes: readonly GraphNode[];
	/** Values that are made before this segment, by others, and used in it. */
	readonly incoming: readonly number[];
	/** Values that are made in it and used by later segments. */
	readonly outgoing: readonly number[];
}

/** Sizes of the allowance that are tried. */
const TRIES = 40;

/**
 * Cut nodes into segments, so that what is kept between them and what the largest holds while it is recorded are
 * together as small as they get. A cut is made where the fewest bytes cross it. Sizes with names (ranks) count as 1.
 *
 * @param loss its value is needed to the end
 */
export function planSegments(graph: Graph, nodes: readonly GraphNode[], loss: number): readonly Segment[] {
	const costs = nodes.map((node) => recordedBytes(graph, node));
	const total = costs.reduce((sum, cost) => sum + cost, 0);
	const largest = Math.max(0, ...costs);
	const uses = lastUses(nodes, loss);
	let best = { peak: Number.POSITIVE_INFINITY, cuts: [] as readonly number[] };
	for (let i = 0; i < TRIES; i++) {
		const allowance = largest * (Math.max(1, total) / Math.max(1, largest)) ** (i / (TRIES - 1));
		const found = cutWithin(graph, nodes, costs, uses, allowance);
		if (found.peak < best.peak) best = found;
	}
	return segmentsOf(nodes, best.cuts, loss);
}

/** Everything in one. */
export function oneSegment(nodes: readonly GraphNode[], loss: number): readonly Segment[] {
	return segmentsOf(nodes, [], loss);
}

interface Cuts {
	readonly peak: number;
	/** Indices of nodes before which is cut. */
	readonly cuts: readonly number[];
}

function cutWithin(
	graph: Graph,
	nodes: readonly GraphNode[],
	costs: readonly number[],
	uses: ReadonlyMap<number, number>,
	allowance: number,
): Cuts {
	const cuts: number[] = [];
	let [kept, most, from] = [0, 0, 0];
	while (from < nodes.length) {
		// How far the allowance reaches, and where on the way least of what this segment makes lives on.
		let [held, at, crossing, end] = [0, from, 0, nodes.length];
		let best = { bytes: Number.POSITIVE_INFINITY, end: from + 1, held: costs[from] ?? 0 };
		const ends = new Map<number, number>();
		for (; at < nodes.length; at++) {
			if (at > from && held + (costs[at] ?? 0) > allowance) {
				end = best.end;
				break;
			}
			held += costs[at] ?? 0;
			const made = nodes[at]?.output ?? -1;
			const bytes = bytesOf(graph, made);
			const last = uses.get(made) ?? at;
			if (last > at) {
				crossing += bytes;
				ends.set(last, (ends.get(last) ?? 0) + bytes);
			}
			crossing -= ends.get(at) ?? 0;
			// Of equals the last: fewer segments.
			if (crossing <= best.bytes) best = { bytes: crossing, end: at + 1, held };
		}
		if (end < nodes.length) {
			cuts.push(end);
			kept += best.bytes;
			most = Math.max(most, best.held);
		} else most = Math.max(most, held);
		from = end;
	}
	return { peak: kept + most, cuts };
}

/** For each value the index of the last node that uses it; that of the loss is past the end. */
function lastUses(nodes: readonly GraphNode[], loss: number): ReadonlyMap<number, number> {
	const last = new Map<number, number>();
	for (const [i, { inputs }] of nodes.entries()) for (const id of inputs) last.set(id, i);
	return last.set(loss, nodes.length);
}

function segmentsOf(nodes: readonly GraphNode[], cuts: readonly number[], loss: number): readonly Segment[] {
	const bounds = [0, ...cuts, nodes.length];
	const uses = lastUses(nodes, loss);
	return bounds.slice(1).map((end, i): Segment => {
		const own = nodes.slice(bounds[i], end);
		const made = new Set(own.map(({ output }) => output));
		const incoming = new Set(own.flatMap(({ inputs }) => inputs.filter((id) => !made.has(id))));
		return { nodes: own, incoming: [...incoming], outgoing: [...made].filter((id) => (uses.get(id) ?? -1) >= end) };
	});
}

/** About what the tape and the backward pass hold for a node: its result, operands turned round, what is inside. */
export function recordedBytes(graph: Graph, { op, inputs, output }: GraphNode): number {
	const result = bytesOf(graph, output);
	switch (op) {
		case 'reshape':
		case 'stopGradient':
		case 'after':
			return result;
		case 'conv2d':
		case 'lowRankConv':
		case 'convTranspose2d':
			return 3 * result + 2 * bytesOf(graph, inputs[op === 'lowRankConv' ? 1 : 0] ?? -1);
		case 'groupNorm':
		case 'layerNorm':
		case 'gelu':
			return 6 * result;
		default:
			return 3 * result;
	}
}

function bytesOf(graph: Graph, value: number): number {
	return shapeBytes(graph.values[value]?.shape ?? []);
}
