import type { Tensor } from '@tensorflow/tfjs';
import { type Kernels, operand, sizeAt, type TfjsContext } from './kernel.js';

export const normKernels: Kernels<'silu' | 'gelu' | 'quickGelu' | 'softmax' | 'layerNorm' | 'groupNorm'> = {
	silu({ tf }, inputs) {
		const x = operand(inputs, 0);
		return tf.mul(x, tf.sigmoid(x));
	},
	gelu({ tf }, inputs) {
		const x = operand(inputs, 0);
		return tf.mul(tf.mul(x, 0.5), tf.add(tf.erf(tf.mul(x, Math.SQRT1_2)), 1));
	},
	quickGelu({ tf }, inputs) {
		const x = operand(inputs, 0);
		return tf.mul(x, tf.sigmoid(tf.mul(x, 1.702)));
	},
	softmax: ({ tf }, inputs) => tf.softmax(operand(inputs, 0), -1),
	layerNorm(context, inputs, { epsilon }, shape) {
		const { tf } = context;
		const x = operand(inputs, 0);
		const rows = normalized(context, tf.reshape(x, [-1, sizeAt(x, -1)]), epsilon);
		return tf.reshape(tf.add(tf.mul(rows, operand(inputs, 1)), operand(inputs, 2)), [...shape]);
	},
	groupNorm(context, inputs, { groups, epsilon }, shape) {
		const { tf } = context;
		const x = operand(inputs, 0);
		const [b, c] = [sizeAt(x, 0), sizeAt(x, 1)];
		const rows = normalized(context, tf.reshape(x, [b * groups, -1]), epsilon);
		const [weight, bias] = [tf.reshape(operand(inputs, 1), [c, 1]), tf.reshape(operand(inputs, 2), [c, 1])];
		return tf.reshape(tf.add(tf.mul(tf.reshape(rows, [b, c, -1]), weight), bias), [...shape]);
	},
};

/** Rows less their mean, by their standard deviation. */
function normalized({ tf }: TfjsContext, rows: Tensor, epsilon: number): Tensor {
	const centred = tf.sub(rows, tf.mean(rows, 1, true));
	const variance = tf.mean(tf.square(centred), 1, true);
	return tf.div(centred, tf.sqrt(tf.add(variance, epsilon)));
}
