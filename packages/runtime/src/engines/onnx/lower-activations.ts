import { type LoweringRules, operand } from './lowering.js';
import { MICROSOFT } from './onnx-model.js';

export const activationRules: LoweringRules<'silu' | 'gelu' | 'quickGelu'> = {
	silu(emit, inputs) {
		return emit.node('QuickGelu', [operand(inputs, 0).name], { alpha: { float: 1 } }, MICROSOFT);
	},
	gelu(emit, inputs) {
		return emit.node('Gelu', [operand(inputs, 0).name]);
	},
	quickGelu(emit, inputs) {
		return emit.node('QuickGelu', [operand(inputs, 0).name], { alpha: { float: 1.702 } }, MICROSOFT);
	},
};
