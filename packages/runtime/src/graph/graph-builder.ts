import type { HostTensor } from '../host-tensor.js';
import type { Graph, GraphDType, GraphNode, NamedValue, Shape, Value } from './graph.js';
import { inferShape } from './infer-shape.js';
import type { OpAttributes, OpName } from './op-table.js';
import type { Ops } from './ops.js';

/** An `Ops` that records. */
export interface GraphBuilder extends Ops {
	/** What was recorded so far. Nodes that no output and no tap needs are left out. */
	graph(): Graph;
}

/** Record a computation. */
export function createGraphBuilder(): GraphBuilder {
	const values: Value[] = [];
	const inputs: NamedValue[] = [];
	const inputNames = new Set<string>();
	const parameters = new Map<string, Value>();
	const constants: { value: number; tensor: HostTensor }[] = [];
	const scalars = new Map<number, Value>();
	const nodes: GraphNode[] = [];
	const outputs: NamedValue[] = [];
	const taps: NamedValue[] = [];
	const scopes: string[] = [];

	function make(shape: Shape, dtype: GraphDType): Value {
		const value: Value = { id: values.length, shape, dtype };
		values.push(value);
		return value;
	}

	return {
		input(name, shape, dtype = 'f32') {
			if (inputNames.has(name)) throw new TypeError(`input ${name} twice`);
			inputNames.add(name);
			const value = make(shape, dtype);
			inputs.push({ name, value: value.id });
			return value;
		},
		parameter(name, shape) {
			const known = parameters.get(name);
			if (known !== undefined) return known;
			const value = make(shape, 'f32');
			parameters.set(name, value);
			return value;
		},
		constant(tensor) {
			const single = tensor.dtype !== 'i32' && tensor.shape.length === 0 ? tensor.data[0] : undefined;
			const known = single === undefined ? undefined : scalars.get(single);
			if (known !== undefined) return known;
			const value = make(tensor.shape, tensor.dtype === 'i32' ? 'i32' : 'f32');
			constants.push({ value: value.id, tensor });
			if (single !== undefined) scalars.set(single, value);
			return value;
		},
		apply<K extends OpName>(op: K, operands: readonly Value[], attributes: OpAttributes<K>): Value {
			const scope = scopes.join('.');
			const { shape, dtype } = inferShape(
				op,
				operands.map((v) => v.shape),
				attributes,
				scope,
			);
			const value = make(shape, op === 'stopGradient' ? (operands[0]?.dtype ?? dtype) : dtype);
			nodes.push({ op, inputs: operands.map((v) => v.id), output: value.id, attributes, scope } as GraphNode);
			return value;
		},
		scope(name, part) {
			scopes.push(name);
			try {
				return part();
			} finally {
				scopes.pop();
			}
		},
		tap(name, value) {
			taps.push({ name, value: value.id });
			return value;
		},
		output(name, value) {
			outputs.push({ name, value: value.id });
		},
		graph() {
			const parameterList = [...parameters].map(([name, value]) => ({ name, value: value.id }));
			return { values, inputs, parameters: parameterList, constants, nodes, outputs, taps };
		},
	};
}
