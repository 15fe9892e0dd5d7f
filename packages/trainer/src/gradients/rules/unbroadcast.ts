import type { Ops, Shape, Value } from '@lorakit/runtime';
import { reshape, sum } from '@lorakit/runtime/ops';

/** The gradient of an operand of `shape` that was broadcast to the shape of `gradient`: summed over what it was repeated along. */
export function unbroadcast(ops: Ops, gradient: Value, shape: Shape): Value {
	const extra = gradient.shape.length - shape.length;
	const axes = gradient.shape.flatMap((d, i) => (i < extra || (shape[i - extra] === 1 && d !== 1) ? [i] : []));
	const summed = axes.length === 0 ? gradient : sum(ops, gradient, ...axes);
	return extra === 0 ? summed : reshape(ops, summed, shape);
}
