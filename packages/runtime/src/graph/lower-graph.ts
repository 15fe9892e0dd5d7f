import { expandComposite } from './expand-composite.js';
import type { Graph, Value } from './graph.js';
import { createGraphBuilder } from './graph-builder.js';
import { type CompositeName, isComposite, type OpAttributes, type OpName } from './op-table.js';
import type { Ops } from './ops.js';

/** What a lowered graph keeps. */
export interface LowerOptions {
	/** Composites that the engine has a kernel for: these stay. */
	readonly kernels?: ReadonlySet<CompositeName> | undefined;
	/** Names of taps that become outputs too. */
	readonly taps?: readonly string[] | undefined;
}

/**
 * The same computation with only primitives and the composites that have kernels, and only what its outputs need.
 * Names of inputs, parameters and outputs stay; inputs that are not needed stay too (whoever feeds them may go on).
 */
export function lowerGraph(graph: Graph, { kernels, taps = [] }: LowerOptions = {}): Graph {
	const wanted = [
		...graph.outputs,
		...taps.map((name) => {
			const found = graph.taps.findLast((tap) => tap.name === name);
			if (found === undefined) throw new TypeError(`no tap ${name}`);
			return found;
		}),
	];
	const needed = new Set(wanted.map(({ value }) => value));
	for (const node of graph.nodes.toReversed()) if (needed.has(node.output)) for (const id of node.inputs) needed.add(id);

	const builder = createGraphBuilder();
	const made = new Map<number, Value>();
	const shapeOf = (id: number): Value => {
		const value = graph.values[id];
		if (value === undefined) throw new TypeError(`no value ${id}`);
		return value;
	};
	for (const { name, value } of graph.inputs) made.set(value, builder.input(name, shapeOf(value).shape, shapeOf(value).dtype));
	for (const { name, value } of graph.parameters) {
		if (needed.has(value)) made.set(value, builder.parameter(name, shapeOf(value).shape as readonly number[]));
	}
	for (const { value, tensor } of graph.constants) if (needed.has(value)) made.set(value, builder.constant(tensor));
	const ops: Ops = {
		...builder,
		apply(op, inputs, attributes) {
			// The attributes belong to `op`, which the type system forgets when it learns that `op` is a composite.
			if (!stays(op) && isComposite(op)) return expandComposite(ops, op, inputs, attributes as OpAttributes<typeof op>);
			return builder.apply(op, inputs, attributes);
		},
	};
	const stays = (op: OpName): boolean => !isComposite(op) || kernels?.has(op) === true;
	for (const node of graph.nodes) {
		if (!needed.has(node.output)) continue;
		const inputs = node.inputs.map((id) => {
			const value = made.get(id);
			if (value === undefined) throw new TypeError(`value ${id} is used before it is made`);
			return value;
		});
		made.set(
			node.output,
			builder.scope(node.scope, () => ops.apply(node.op, inputs, node.attributes)),
		);
	}
	for (const { name, value } of wanted) {
		const found = made.get(value);
		if (found !== undefined) builder.output(name, found);
	}
	return builder.graph();
}
