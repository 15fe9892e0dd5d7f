import { type LoweringRules, operand } from './lowering.js';

/** Sums and maxima. Without axes they are the operand itself. */
export const reductionRules: LoweringRules<'sum' | 'amax'> = {
	sum(emit, inputs, { axes }) {
		return axes.length === 0
			? emit.node('Identity', [operand(inputs, 0).name])
			: emit.node('ReduceSum', [operand(inputs, 0).name, emit.ints(...axes)], { keepdims: { int: 1 } });
	},
	amax(emit, inputs, { axes }) {
		return axes.length === 0
			? emit.node('Identity', [operand(inputs, 0).name])
			: emit.node('ReduceMax', [operand(inputs, 0).name, emit.ints(...axes)], { keepdims: { int: 1 } });
	},
};
