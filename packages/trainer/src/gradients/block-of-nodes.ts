import type { Graph } from '@lorakit/runtime';

/** Modules whose inside is computed again under `lean`: diffusers' and transformers' names of the repeated parts. */
const BLOCK = /\.(?:resnets|transformer_blocks|layers|downsamplers|upsamplers)\.\d+$/;

/** The number of the block that each node belongs to. A block ends with the node that gives the output of a module of `BLOCK`. */
export function blocksOfNodes(graph: Graph): readonly number[] {
	const ends = new Set(graph.taps.filter(({ name }) => BLOCK.test(name)).map(({ value }) => value));
	let block = 0;
	return graph.nodes.map(({ output }) => (ends.has(output) ? block++ : block));
}
