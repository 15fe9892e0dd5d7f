export { expandComposite } from './expand-composite.js';
export type { Dim, Graph, GraphDType, GraphNode, NamedValue, NodeOf, Shape, Value } from './graph.js';
export { createGraphBuilder, type GraphBuilder } from './graph-builder.js';
export { broadcastShapes, convSize, type Inferred, inferShape } from './infer-shape.js';
export { type LowerOptions, lowerGraph } from './lower-graph.js';
export type {
	BinaryName,
	CompositeName,
	ConvAttributes,
	OpAttributes,
	OpName,
	OpTable,
	Padding,
	Pair,
	PrimitiveName,
	UnaryName,
} from './op-table.js';
export { BINARY, isComposite, UNARY } from './op-table.js';
export type { Ops } from './ops.js';
