import { bytesOf } from './emitter.js';
import { type LoweringRules, operand } from './lowering.js';

type Arrangements = 'reshape' | 'transpose' | 'slice' | 'concat' | 'pad' | 'broadcast' | 'gather' | 'oneHot' | 'stopGradient';

/** Operations that move elements and compute nothing. */
export const arrangementRules: LoweringRules<Arrangements> = {
	reshape(emit, inputs, { shape }) {
		return emit.reshape(operand(inputs, 0).name, shape);
	},
	transpose(emit, inputs, { permutation }) {
		return emit.node('Transpose', [operand(inputs, 0).name], { perm: { ints: permutation } });
	},
	slice(emit, inputs, { axis, start, end }) {
		return emit.node('Slice', [operand(inputs, 0).name, emit.ints(start), emit.ints(end), emit.ints(axis)]);
	},
	concat(emit, inputs, { axis }) {
		return emit.node(
			'Concat',
			inputs.map((x) => x.name),
			{ axis: { int: axis } },
		);
	},
	pad(emit, inputs, { axis, before, after }) {
		return emit.node('Pad', [operand(inputs, 0).name, emit.ints(before, after), '', emit.ints(axis)]);
	},
	broadcast(emit, inputs, { shape }) {
		return emit.node('Expand', [operand(inputs, 0).name, emit.dims(shape)]);
	},
	gather(emit, inputs) {
		return emit.node('Gather', [operand(inputs, 0).name, operand(inputs, 1).name], { axis: { int: 0 } });
	},
	oneHot(emit, inputs, { depth }) {
		const size = emit.table('int32', [], bytesOf(Int32Array.of(depth)));
		return emit.node('OneHot', [operand(inputs, 0).name, size, emit.floats([2], [0, 1])], { axis: { int: -1 } });
	},
	stopGradient(emit, inputs) {
		return emit.node('Identity', [operand(inputs, 0).name]);
	},
};
