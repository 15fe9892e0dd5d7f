import type { BinaryName, UnaryName } from '../../graph/op-table.js';
import { broadcastTo } from './broadcast-to.js';
import { type Kernels, operand } from './kernel.js';
import { absolute, largerOf } from './kink-gradients.js';
import { withoutGradient } from './without-gradient.js';

export const elementwiseKernels: Kernels<UnaryName | BinaryName> = {
	neg: ({ tf }, inputs) => tf.neg(operand(inputs, 0)),
	exp: ({ tf }, inputs) => tf.exp(operand(inputs, 0)),
	log: ({ tf }, inputs) => tf.log(operand(inputs, 0)),
	sqrt: ({ tf }, inputs) => tf.sqrt(operand(inputs, 0)),
	sigmoid: ({ tf }, inputs) => tf.sigmoid(operand(inputs, 0)),
	tanh: ({ tf }, inputs) => tf.tanh(operand(inputs, 0)),
	erf: ({ tf }, inputs) => tf.erf(operand(inputs, 0)),
	sin: ({ tf }, inputs) => tf.sin(operand(inputs, 0)),
	cos: ({ tf }, inputs) => tf.cos(operand(inputs, 0)),
	abs: ({ tf }, inputs) => absolute(tf, operand(inputs, 0)),
	sign: ({ tf }, inputs) => tf.sign(operand(inputs, 0)),
	add: ({ tf }, inputs) => tf.add(operand(inputs, 0), operand(inputs, 1)),
	sub: ({ tf }, inputs) => tf.sub(operand(inputs, 0), operand(inputs, 1)),
	mul: ({ tf }, inputs) => tf.mul(operand(inputs, 0), operand(inputs, 1)),
	div: ({ tf }, inputs) => tf.div(operand(inputs, 0), operand(inputs, 1)),
	// What was broadcast is added up by the gradient of a sum.
	maximum: (context, inputs, _, shape) =>
		largerOf(context.tf, broadcastTo(context, operand(inputs, 0), shape), broadcastTo(context, operand(inputs, 1), shape)),
	// TensorFlow.js has no gradient of it, not even zero.
	greater: ({ tf }, inputs) =>
		withoutGradient(tf, [operand(inputs, 0), operand(inputs, 1)], (a, b) => tf.cast(tf.greater(a, b ?? a), 'float32')),
};
