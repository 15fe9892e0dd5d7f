import { known, type LoweringRules, operand } from './lowering.js';
import { MICROSOFT } from './onnx-model.js';

/** Norms, softmax and attention. */
export const normRules: LoweringRules<'softmax' | 'layerNorm' | 'groupNorm' | 'attention'> = {
	softmax(emit, inputs) {
		return emit.node('Softmax', [operand(inputs, 0).name], { axis: { int: -1 } });
	},
	layerNorm(emit, inputs, { epsilon }) {
		const names = [operand(inputs, 0).name, operand(inputs, 1).name, operand(inputs, 2).name];
		return emit.node('LayerNormalization', names, { axis: { int: -1 }, epsilon: { float: epsilon } });
	},
	/**
	 * ONNX Runtime has GroupNorm on GPUs only. A group is an instance; the weights by channel are a batch norm whose
	 * recorded mean is 0 and variance 1, one pass where Mul and Add are two (2 x 960 x 64 x 64: 13 ms against 43).
	 */
	groupNorm(emit, inputs, { groups, epsilon }, shape) {
		const [x, weight, bias] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2)];
		const [batch, channels] = [known(shape, 0), known(shape, 1)];
		const size = shape.slice(2).reduce<number>((p, _, i) => p * known(shape, 2 + i), channels / groups);
		const byGroup = [batch, groups, size];
		const names = [emit.shaped(emit.reshape(x.name, byGroup), byGroup), emit.filled([groups], 1), emit.filled([groups], 0)];
		const normalGroups = emit.shaped(emit.node('InstanceNormalization', names, { epsilon: { float: epsilon } }), byGroup);
		const normal = emit.shaped(emit.reshape(normalGroups, shape), shape);
		const [mean, variance] = [emit.filled([channels], 0), emit.filled([channels], 1)];
		return emit.node('BatchNormalization', [normal, weight.name, bias.name, mean, variance], { epsilon: { float: 0 } });
	},
	/** The kernel never holds all scores; `slices` is for engines that do. */
	attention(emit, inputs, { heads, scale, causal }) {
		const names = [operand(inputs, 0).name, operand(inputs, 1).name, operand(inputs, 2).name];
		const attributes = { num_heads: { int: heads }, scale: { float: scale }, unidirectional: { int: causal ? 1 : 0 } };
		return emit.node('MultiHeadAttention', names, attributes, MICROSOFT);
	},
};
