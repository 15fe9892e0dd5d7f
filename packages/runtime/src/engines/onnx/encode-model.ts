import {
	MICROSOFT,
	ONNX_DTYPES,
	type OnnxAttribute,
	type OnnxModel,
	type OnnxNode,
	type OnnxTensor,
	type OnnxValueInfo,
} from './onnx-model.js';
import { createProtoWriter, type ProtoWriter } from './protobuf.js';

/** Version of the file format that came with operator set 20. */
const IR_VERSION = 9;
/** The first operator set with Gelu; LayerNormalization is there since 17. */
const OPSET = 20;

/**
 * A ModelProto's bytes. Field numbers are those of onnx/onnx.proto3 (onnx/onnx); the numbers in this file stand
 * beside the names they have there.
 */
export function encodeModel(model: OnnxModel): Uint8Array {
	return createProtoWriter()
		.int(1 /* ir_version */, IR_VERSION)
		.string(2 /* producer_name */, 'lorakit')
		.message(7 /* graph */, (graph) => {
			for (const node of model.nodes) graph.message(1 /* node */, (w) => writeNode(w, node));
			graph.string(2 /* name */, 'lorakit');
			for (const tensor of model.initializers) graph.message(5 /* initializer */, (w) => writeTensor(w, tensor));
			for (const input of model.inputs) graph.message(11 /* input */, (w) => writeValueInfo(w, input));
			for (const output of model.outputs) graph.message(12 /* output */, (w) => writeValueInfo(w, output));
			for (const value of model.values) graph.message(13 /* value_info */, (w) => writeValueInfo(w, value));
		})
		.message(8 /* opset_import */, (w) => w.string(1 /* domain */, '').int(2 /* version */, OPSET))
		.message(8 /* opset_import */, (w) => w.string(1 /* domain */, MICROSOFT).int(2 /* version */, 1))
		.finish();
}

function writeNode(w: ProtoWriter, node: OnnxNode): void {
	for (const input of node.inputs) w.string(1 /* input */, input);
	w.string(2 /* output */, node.output).string(3 /* name */, node.name).string(4 /* op_type */, node.opType);
	for (const [name, value] of Object.entries(node.attributes)) w.message(5 /* attribute */, (inner) => writeAttribute(inner, name, value));
	if (node.domain !== '') w.string(7 /* domain */, node.domain);
}

function writeAttribute(w: ProtoWriter, name: string, value: OnnxAttribute): void {
	w.string(1 /* name */, name);
	if ('float' in value) w.float(2 /* f */, value.float).int(20 /* type */, 1 /* FLOAT */);
	else if ('int' in value) w.int(3 /* i */, value.int).int(20 /* type */, 2 /* INT */);
	else if ('string' in value) w.string(4 /* s */, value.string).int(20 /* type */, 3 /* STRING */);
	else {
		for (const n of value.ints) w.int(8 /* ints */, n);
		w.int(20 /* type */, 7 /* INTS */);
	}
}

function writeTensor(w: ProtoWriter, tensor: OnnxTensor): void {
	for (const d of tensor.dims) w.int(1 /* dims */, d);
	w.int(2 /* data_type */, ONNX_DTYPES[tensor.dtype]).string(8 /* name */, tensor.name);
	if ('raw' in tensor.data) {
		w.bytes(9 /* raw_data */, tensor.data.raw);
		return;
	}
	const { location, offset, length } = tensor.data.external;
	const entry = (key: string, value: string) =>
		w.message(13 /* external_data */, (inner) => inner.string(1 /* key */, key).string(2 /* value */, value));
	entry('location', location);
	entry('offset', String(offset));
	entry('length', String(length));
	w.int(14 /* data_location */, 1 /* EXTERNAL */);
}

function writeValueInfo(w: ProtoWriter, { name, dtype, shape }: OnnxValueInfo): void {
	w.string(1 /* name */, name).message(2 /* type */, (type) =>
		type.message(1 /* tensor_type */, (tensor) =>
			tensor.int(1 /* elem_type */, ONNX_DTYPES[dtype]).message(2 /* shape */, (dims) => {
				for (const d of shape) {
					dims.message(1 /* dim */, (dim) => {
						if (typeof d === 'number') dim.int(1 /* dim_value */, d);
						else if (d !== undefined) dim.string(2 /* dim_param */, d);
					});
				}
			}),
		),
	);
}
