import type { CompositeName, Graph, GraphNode, OpName } from '../../graph/index.js';
import { bytesOf, createEmitter, type Operand } from './emitter.js';
import { labelValues } from './label-values.js';
import { activationRules } from './lower-activations.js';
import { arrangementRules } from './lower-arrangements.js';
import { convolutionRules } from './lower-convolutions.js';
import { elementwiseRules } from './lower-elementwise.js';
import { normRules } from './lower-norms.js';
import { productRules } from './lower-products.js';
import { reductionRules } from './lower-reductions.js';
import type { LoweringRule, LoweringRules } from './lowering.js';
import { ONNX_DTYPES, type OnnxDType, type OnnxModel, type OnnxNode, type OnnxTensor, type OnnxValueInfo } from './onnx-model.js';
import { type FloatDType, nodeTypes, type Precision } from './precision.js';

/** `lowRankConv` has no kernel: two convolutions and a sum are what there is. */
type Lowered = Exclude<OpName, 'lowRankConv'>;

const RULES: LoweringRules<Lowered> = {
	...elementwiseRules,
	...productRules,
	...convolutionRules,
	...arrangementRules,
	...reductionRules,
	...normRules,
	...activationRules,
};

/** Composites that stay whole. */
export const ONNX_KERNELS: ReadonlySet<CompositeName> = new Set<CompositeName>([
	'linear',
	'lowRank',
	'silu',
	'gelu',
	'quickGelu',
	'softmax',
	'layerNorm',
	'groupNorm',
	'attention',
	'upsampleNearest',
]);

/** Where a weight's elements are, in the type they are stored in; the model converts them to the one it computes in. */
export interface PlacedWeight {
	readonly dtype: FloatDType;
	readonly data: OnnxTensor['data'];
}

/** ONNX wants one name for one value: an input and an output may have the same in a graph. */
export function onnxInputName(name: string): string {
	return `in.${name}`;
}

export function onnxOutputName(name: string): string {
	return `out.${name}`;
}

/**
 * A graph as an ONNX model of operator set 20 and ONNX Runtime's own operators. Of composites it may hold
 * `ONNX_KERNELS` only (`lowerGraph`). `place` tells where the weight of a name is. Inputs and outputs are float32 (int32 for
 * indices) under either precision.
 */
export function lowerToOnnx(graph: Graph, place: (name: string) => PlacedWeight, precision: Precision = 'fp32'): OnnxModel {
	const emit = createEmitter(graph, onnxInputName);
	const types = nodeTypes(graph, precision);
	const made = new Map<number, { readonly name: string; readonly dtype: OnnxDType }>();
	const casts = new Map<string, string>();
	const weights: OnnxTensor[] = [];

	for (const { name, value } of graph.inputs) made.set(value, { name: onnxInputName(name), dtype: dtypeOf(value) });
	for (const { name, value } of graph.parameters) {
		const { dtype, data } = place(name);
		const dims = shapeOf(value).map(Number);
		weights.push({ name: `w.${name}`, dtype, dims, data });
		made.set(value, { name: `w.${name}`, dtype });
	}
	for (const { value, tensor } of graph.constants) {
		const { dtype, data } = tensor;
		const raw = dtype === 'i32' ? Int32Array.from(data) : Float32Array.from(data);
		made.set(value, { name: emit.table(dtypeOf(value), tensor.shape, bytesOf(raw)), dtype: dtypeOf(value) });
	}
	for (const node of graph.nodes) {
		const dtype = types.get(node) ?? 'float32';
		emit.scope(node.scope, dtype);
		const inputs = node.inputs.map((id, i): Operand => ({ name: operandOf(node, i, id, dtype), shape: shapeOf(id) }));
		// The attributes belong to the rule: both were found by the same `op`, which the type system cannot say.
		const rule = RULES[node.op as Lowered] as LoweringRule<OpName>;
		const name = rule(emit, inputs, node.attributes, shapeOf(node.output));
		const whole = dtypeOf(node.output) === 'int32';
		made.set(node.output, { name, dtype: whole ? 'int32' : dtype });
		// A result can be an operand itself, such as an input of the model.
		if (!whole && !inputs.some((input) => input.name === name)) emit.shaped(name, shapeOf(node.output));
	}

	const outputs: OnnxValueInfo[] = [];
	const last = graph.outputs.map(({ name, value }) => {
		outputs.push({ name: onnxOutputName(name), dtype: dtypeOf(value), shape: openShape(shapeOf(value)) });
		return {
			name: `output ${name}`,
			opType: 'Identity',
			domain: '',
			inputs: [nameAs(value, 'float32')],
			output: onnxOutputName(name),
			attributes: {},
		};
	});
	const nodes = neededOnly([...emit.nodes, ...last]);
	return {
		inputs: graph.inputs.map(({ name, value }) => ({ name: onnxInputName(name), dtype: dtypeOf(value), shape: openShape(shapeOf(value)) })),
		outputs,
		initializers: [...emit.initializers, ...weights],
		nodes,
		values: labelValues(nodes, emit.known),
	};

	function found(id: number): Graph['values'][number] {
		const value = graph.values[id];
		if (value === undefined) throw new TypeError(`no value ${id}`);
		return value;
	}

	function shapeOf(id: number): Operand['shape'] {
		return found(id).shape;
	}

	function dtypeOf(id: number): OnnxDType {
		return found(id).dtype === 'i32' ? 'int32' : 'float32';
	}

	/** The name of a value in a type, converted once. Indices stay what they are. */
	function nameAs(id: number, wanted: 'float32' | 'float16'): string {
		const { name, dtype } = madeOf(id);
		if (dtype === wanted || dtype === 'int32') return name;
		const key = `${wanted} ${name}`;
		const known = casts.get(key);
		if (known !== undefined) return known;
		const cast = emit.shaped(emit.node('Cast', [name], { to: { int: ONNX_DTYPES[wanted] } }), shapeOf(id), wanted);
		casts.set(key, cast);
		return cast;
	}

	/** What a node only waits for (`after`) is asked for as it is. */
	function operandOf(node: GraphNode, i: number, id: number, dtype: 'float32' | 'float16'): string {
		return node.op === 'after' && i > 0 ? madeOf(id).name : nameAs(id, dtype);
	}

	function madeOf(id: number): { readonly name: string; readonly dtype: OnnxDType } {
		const found = made.get(id);
		if (found === undefined) throw new TypeError(`value ${id} is used before it is made`);
		return found;
	}
}

/**
 * The first size is not told: it would be told on to all that is computed from an input. `labelValues` says where values may
 * share memory; where a size is unknown ONNX Runtime gives memory back at once.
 */
function openShape([first, ...rest]: Operand['shape']): OnnxValueInfo['shape'] {
	return first === undefined ? [] : [undefined, ...rest];
}

/**
 * Without nodes that no output needs, such as a product's shape that only its rows were asked of. ONNX Runtime would
 * run them, after everything else, and hold their operands until then: 1 GB for a UNet with low-rank terms.
 */
function neededOnly(nodes: readonly OnnxNode[]): readonly OnnxNode[] {
	const needed = new Set<string>();
	const kept = nodes.toReversed().filter(({ output, inputs }) => {
		if (!output.startsWith('out.') && !needed.has(output)) return false;
		for (const input of inputs) needed.add(input);
		return true;
	});
	return kept.reverse();
}
