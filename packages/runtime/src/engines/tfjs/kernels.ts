import type { Tensor } from '@tensorflow/tfjs';
import type { CompositeName, OpAttributes, OpName } from '../../graph/index.js';
import { countOf } from '../../host-tensor.js';
import { arrangementKernels } from './arrangement-kernels.js';
import { attention } from './attention-kernel.js';
import { conv2dOfHwio, convolutionKernels } from './convolution-kernels.js';
import { elementwiseKernels } from './elementwise-kernels.js';
import { type Kernel, type Kernels, operand, type TfjsContext } from './kernel.js';
import { normKernels } from './norm-kernels.js';
import { linearOfColumns, productKernels } from './product-kernels.js';

/** Composites that stay whole: all of them. */
export const TFJS_KERNELS: ReadonlySet<CompositeName> = new Set<CompositeName>([
	'linear',
	'lowRank',
	'lowRankConv',
	'silu',
	'gelu',
	'quickGelu',
	'softmax',
	'layerNorm',
	'groupNorm',
	'attention',
	'upsampleNearest',
]);

const KERNELS: Kernels<OpName> = {
	...elementwiseKernels,
	...productKernels,
	...convolutionKernels,
	...arrangementKernels,
	...normKernels,
	attention,
};

/**
 * One operation. It is a pure function of its tensors in TensorFlow.js' own ops: `tf.grads` and `tf.variableGrads` go
 * through it. The result is a tensor of its own, whose disposal leaves the operands as they are; what was made on the way is disposed.
 *
 * @param shape of the result
 * @param prepared the second operand is a weight as `prepareWeight` lays it out
 */
export function runKernel<K extends OpName>(
	context: TfjsContext,
	op: K,
	inputs: readonly Tensor[],
	attributes: OpAttributes<K>,
	shape: readonly number[],
	prepared = false,
): Tensor {
	const { tf } = context;
	return tf.tidy(() => {
		const result = inputs.some(isEmpty) || countOf(shape) === 0 ? ofNothing(context, op, inputs, shape) : undefined;
		if (result !== undefined) return result;
		if (prepared && op === 'linear') return linearOfColumns(context, inputs, shape);
		if (prepared && op === 'conv2d') return conv2dOfHwio(context, inputs, attributes as OpAttributes<'conv2d'>);
		return (KERNELS[op] as Kernel<K>)(context, inputs, attributes, shape);
	});
}

const isEmpty = ({ size }: Tensor): boolean => size === 0;

/** Where an operand or the result has no elements (rank 0), which several of TensorFlow.js' kernels do not take. */
function ofNothing(context: TfjsContext, op: OpName, inputs: readonly Tensor[], shape: readonly number[]): Tensor | undefined {
	const { tf } = context;
	if (countOf(shape) === 0) return tf.tensor([], [...shape], 'float32');
	if (op === 'lowRank' || op === 'lowRankConv') return tf.clone(operand(inputs, 0));
	if (op === 'concat') return undefined;
	// A sum of no terms, or zeros around nothing.
	const zeros = tf.zeros([...shape]);
	const bias = op === 'conv2d' || op === 'linear' ? inputs[2] : undefined;
	if (bias === undefined) return zeros;
	return tf.add(zeros, op === 'conv2d' ? tf.reshape(bias, [-1, 1, 1]) : bias);
}
