import type { HostTensor } from '../host-tensor.js';
import type { OpAttributes, OpName } from './op-table.js';

/** A size that is known, or the name of one that is known only when the graph is run (the rank of an adapter). */
export type Dim = number | string;

/** Sizes, outermost first. */
export type Shape = readonly Dim[];

/** `i32` for token ids and indices only; everything else is `f32`, computed in the engine's own precision. */
export type GraphDType = 'f32' | 'i32';

/** A value of a graph: what nodes take and give. Its place in `Graph.values` is its `id`. */
export interface Value {
	readonly id: number;
	readonly shape: Shape;
	readonly dtype: GraphDType;
}

/** One operation, with typed attributes (see `OpTable`). Every node has one output. */
export type GraphNode = { readonly [K in OpName]: NodeOf<K> }[OpName];

/** A node of one operation. */
export interface NodeOf<K extends OpName> {
	readonly op: K;
	readonly inputs: readonly number[];
	readonly output: number;
	readonly attributes: OpAttributes<K>;
	/** Which part of the model made it, for messages: `unet.mid_block.attentions.0`. */
	readonly scope: string;
}

/** A value under a name. */
export interface NamedValue {
	readonly name: string;
	readonly value: number;
}

/**
 * A computation as plain data: structured-cloneable, no functions. Nodes are in an order in which they can be run.
 * Models record one (`createGraphBuilder`), engines run it, the trainer differentiates it.
 */
export interface Graph {
	readonly values: readonly Value[];
	/** Fed at each run. */
	readonly inputs: readonly NamedValue[];
	/** Weights of the base, by `component.name` in diffusers' names; read from the base's file. */
	readonly parameters: readonly NamedValue[];
	/** Small tables that the model definition computes. */
	readonly constants: readonly { readonly value: number; readonly tensor: HostTensor }[];
	readonly nodes: readonly GraphNode[];
	readonly outputs: readonly NamedValue[];
	/** Values inside that may be asked for as well, by the dotted name of the module whose output they are. */
	readonly taps: readonly NamedValue[];
}
