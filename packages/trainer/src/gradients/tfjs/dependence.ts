import type { Graph, GraphNode } from '@lorakit/runtime';

/** The nodes of a graph by what a gradient needs of them; each list is in the graph's order and can be run after the one before. */
export interface Dependence {
	/** No wanted input reaches them: computed once, off the tape. */
	readonly frozen: readonly GraphNode[];
	/** On a way from a wanted input to the loss. */
	readonly differentiated: readonly GraphNode[];
	/** Other outputs only. */
	readonly rest: readonly GraphNode[];
}

/** @param wrt values of the wanted inputs @param loss value of the loss */
export function dependence({ nodes }: Graph, wrt: ReadonlySet<number>, loss: number): Dependence {
	const reached = new Set(wrt);
	for (const { inputs, output } of nodes) if (inputs.some((id) => reached.has(id))) reached.add(output);
	const leads = new Set([loss]);
	for (const { inputs, output } of nodes.toReversed()) if (leads.has(output)) for (const id of inputs) leads.add(id);
	return {
		frozen: nodes.filter(({ output }) => !reached.has(output)),
		differentiated: nodes.filter(({ output }) => reached.has(output) && leads.has(output)),
		rest: nodes.filter(({ output }) => reached.has(output) && !leads.has(output)),
	};
}
