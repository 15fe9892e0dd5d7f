import type { OpAttributes, OpName, Shape } from '../../graph/index.js';
import type { Emitter, Operand } from './emitter.js';

/** An operation in ONNX's operators; gives the name of its result, which has the shape `shape`. */
export type LoweringRule<K extends OpName> = (
	emit: Emitter,
	inputs: readonly Operand[],
	attributes: OpAttributes<K>,
	shape: Shape,
) => string;

export type LoweringRules<K extends OpName> = { readonly [Op in K]: LoweringRule<Op> };

/** The i-th operand. @throws TypeError when the graph has not so many: a fault of whoever recorded it. */
export function operand(inputs: readonly Operand[], i: number): Operand {
	const found = inputs[i];
	if (found === undefined) throw new TypeError(`operand ${i} is missing`);
	return found;
}

/** A size that must be known. */
export function known(shape: Shape, axis: number): number {
	const d = shape.at(axis);
	if (typeof d !== 'number') throw new TypeError(`axis ${axis} of (${shape.join(', ')}) is not known`);
	return d;
}

/**
 * Two operands whose axes are summed over together, each with a 0 more at the end of that axis. The size of the axis is
 * a rank, which may be 0, and then ONNX Runtime 1.30's Conv, ConvTranspose and FusedMatMul leave the result as memory was before
 * (its Gemm and MatMul do not).
 */
export function neverEmpty(emit: Emitter, a: Operand, axisOfA: number, b: Operand, axisOfB: number): readonly [Operand, Operand] {
	const more = (x: Operand, axis: number): Operand => {
		// Of all axes: for WebGPU it moves what turns pictures round past this, and forgets to turn the list of axes.
		const after = x.shape.map((_, i) => (i === (axis < 0 ? axis + x.shape.length : axis) ? 1 : 0));
		return { ...x, name: emit.node('Pad', [x.name, emit.ints(...x.shape.map(() => 0), ...after)]) };
	};
	return [more(a, axisOfA), more(b, axisOfB)];
}
