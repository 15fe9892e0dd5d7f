import { bytesOf } from './emitter.js';
import { type LoweringRules, operand } from './lowering.js';

type Arrangements = 'reshape' | 'transpose' | 'slice' | 'concat' | 'pad' | 'broadcast' | 'gather' | 'oneHot' | 'stopGradient' | 'after';

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
		const { name, shape } = operand(inputs, 0);
		const size = emit.table('int32', [], bytesOf(Int32Array.of(depth)));
		// It takes no indices without an axis.
		const single = shape.length === 0;
		const rows = emit.node('OneHot', [single ? emit.reshape(name, [1]) : name, size, emit.floats([2], [0, 1])], { axis: { int: -1 } });
		return single ? emit.reshape(rows, [depth]) : rows;
	},
	stopGradient(emit, inputs) {
		return emit.node('Identity', [operand(inputs, 0).name]);
	},
	/**
	 * A Reshape to the shape it has, part of which is computed from the others' shapes: nothing is copied, ONNX Runtime
	 * cannot run it earlier, and does not see that what follows was computed before (it would merge the two). The others are made flat by a
	 * size that it does not know: where it does, it puts the number in place of the Shape when it loads the graph, and nothing waits.
	 */
	after(emit, inputs) {
		const [x, ...others] = inputs;
		const { name, shape } = x ?? operand(inputs, 0);
		const [first] = shape;
		const flat = emit.flat();
		if (others.length === 0 || first === undefined || flat === undefined) return name;
		const sizes = others.map((other) => emit.node('Shape', [emit.node('Reshape', [other.name, flat], { allowzero: { int: 1 } })]));
		const any = sizes.length === 1 ? (sizes[0] ?? '') : emit.node('Max', sizes);
		// Times 0 it is 0; a size is added to it.
		const size = emit.node('Add', [emit.node('Mul', [any, emit.ints(0)]), emit.dims([first])]);
		const rest = shape.slice(1);
		const target = rest.length === 0 ? size : emit.node('Concat', [size, emit.dims(rest)], { axis: { int: 0 } });
		return emit.node('Reshape', [name, target], { allowzero: { int: 1 } });
	},
};
