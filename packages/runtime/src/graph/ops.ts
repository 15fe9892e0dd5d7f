import type { HostTensor } from '../host-tensor.js';
import type { GraphDType, Shape, Value } from './graph.js';
import type { ConvAttributes, OpAttributes, OpName } from './op-table.js';

/**
 * What models are written against. The one implementation records (`createGraphBuilder`); what is recorded is run by
 * an engine and differentiated by the trainer.
 */
export interface Ops {
	/** Fed at each run. */
	input(name: string, shape: Shape, dtype?: GraphDType): Value;
	/** A weight of the base, `component.name` in diffusers' names. Asked for twice it is the same value. */
	parameter(name: string, shape: readonly number[]): Value;
	constant(tensor: HostTensor): Value;
	/** Any operation of the table. @throws {FormatError} `E_SHAPE`. */
	apply<K extends OpName>(op: K, inputs: readonly Value[], attributes: OpAttributes<K>): Value;
	/** `part` runs with this name in the scope of its nodes. */
	scope<T>(name: string, part: () => T): T;
	/** Give a value inside the model the name of the module whose output it is. */
	tap(name: string, value: Value): Value;
	/** A result. */
	output(name: string, value: Value): void;
}

/** a + b */
export function add(ops: Ops, a: Value, b: Value): Value {
	return ops.apply('add', [a, b], {});
}

export function sub(ops: Ops, a: Value, b: Value): Value {
	return ops.apply('sub', [a, b], {});
}

/** a * b, element by element */
export function mul(ops: Ops, a: Value, b: Value): Value {
	return ops.apply('mul', [a, b], {});
}

export function div(ops: Ops, a: Value, b: Value): Value {
	return ops.apply('div', [a, b], {});
}

/** One number. */
export function scalar(ops: Ops, value: number): Value {
	return ops.constant({ dtype: 'f64', shape: [], data: Float64Array.of(value) });
}

/** a * a number */
export function scaleBy(ops: Ops, a: Value, value: number): Value {
	return mul(ops, a, scalar(ops, value));
}

export function silu(ops: Ops, x: Value): Value {
	return ops.apply('silu', [x], {});
}

export function matmul(ops: Ops, a: Value, b: Value, transposeA = false, transposeB = false): Value {
	return ops.apply('matmul', [a, b], { transposeA, transposeB });
}

export function reshape(ops: Ops, x: Value, shape: Shape): Value {
	return ops.apply('reshape', [x], { shape });
}

/** Output axis i is input axis permutation[i]. */
export function transpose(ops: Ops, x: Value, ...permutation: readonly number[]): Value {
	return ops.apply('transpose', [x], { permutation });
}

export function slice(ops: Ops, x: Value, axis: number, start: number, end: number): Value {
	return ops.apply('slice', [x], { axis, start, end });
}

export function concat(ops: Ops, axis: number, ...parts: readonly Value[]): Value {
	return ops.apply('concat', parts, { axis });
}

/** Over `axes`, which stay with size 1. */
export function sum(ops: Ops, x: Value, ...axes: readonly number[]): Value {
	return ops.apply('sum', [x], { axes });
}

/** A square convolution's attributes with the same padding on all sides. */
export function convAttributes(stride: number, padding: number): ConvAttributes {
	return { stride: [stride, stride], padding: [padding, padding, padding, padding], dilation: [1, 1] };
}

/** The size of an axis that is known. @throws TypeError when it has only a name. */
export function sizeOf(value: Value, axis: number): number {
	const d = value.shape[axis < 0 ? axis + value.shape.length : axis];
	if (typeof d !== 'number') throw new TypeError(`axis ${axis} of (${value.shape.join(', ')}) is not known`);
	return d;
}

/** (b, s, heads * d) -> (b, heads, s, d) */
export function splitHeads(ops: Ops, x: Value, heads: number): Value {
	const [b, s, width] = [sizeOf(x, 0), sizeOf(x, 1), sizeOf(x, 2)];
	return transpose(ops, reshape(ops, x, [b, s, heads, width / heads]), 0, 2, 1, 3);
}

/** (b, heads, s, d) -> (b, s, heads * d) */
export function joinHeads(ops: Ops, x: Value): Value {
	const [b, heads, s, d] = [sizeOf(x, 0), sizeOf(x, 1), sizeOf(x, 2), sizeOf(x, 3)];
	return reshape(ops, transpose(ops, x, 0, 2, 1, 3), [b, s, heads * d]);
}

/** Added to scores: what lies after the row's own position gets a number that exp makes 0 in every precision. */
const MASKED = -1e9;

/** (to - from, columns): 0 where row `from + i` may see column j, j up to its own position; else a number that takes it away. */
export function causalMask(ops: Ops, from: number, to: number, columns: number): Value {
	const data = new Float32Array((to - from) * columns);
	for (let row = from; row < to; row++) data.fill(MASKED, (row - from) * columns + row + 1, (row - from + 1) * columns);
	return ops.constant({ dtype: 'f32', shape: [to - from, columns], data });
}
