import type { OpAttributes, OpName, Ops, Shape, Value } from '@lorakit/runtime';

/** A node whose output's gradient is known. */
export interface DerivativeCall<K extends OpName> {
	readonly ops: Ops;
	readonly attributes: OpAttributes<K>;
	/** d loss / d output, in the output's shape. */
	readonly gradient: Value;
	/** How many operands there are. */
	readonly count: number;
	/** Is the gradient of that operand wanted? */
	needs(operand: number): boolean;
	shape(operand: number): Shape;
	/** The operand itself. Asking may compute it again, so a rule asks for what it uses only. */
	input(operand: number): Value;
	/** The node's output, on the same terms. */
	output(): Value;
}

/** A piece of an operand's gradient: the whole, or indices [start, end) of an axis, zero elsewhere. */
export type Contribution = Value | { readonly axis: number; readonly start: number; readonly end: number; readonly part: Value };

/** Contributions to the gradients of the operands, in their order. Nothing need be given where none is wanted. */
export type Derivative<K extends OpName> = (call: DerivativeCall<K>) => readonly (Contribution | undefined)[];

export type Derivatives<K extends OpName> = { readonly [Op in K]: Derivative<Op> };
