import type { Tensor } from '@tensorflow/tfjs';
import { customGradient } from './custom-gradient.js';
import { operand, type Tfjs } from './kernel.js';

/**
 * Functions with a kink, with torch's gradients there. TensorFlow.js gives the whole gradient to one of two that are
 * equal in `maximum`, to every one in `max`, and -1 for `abs` at 0.
 */

export function absolute(tf: Tfjs, x: Tensor): Tensor {
	return customGradient(tf, [x], (inputs, save) => {
		save([...inputs]);
		return { value: tf.abs(operand(inputs, 0)), gradFunc: (dy, saved) => [tf.mul(dy, tf.sign(operand(saved, 0)))] };
	});
}

/** Of two tensors of one shape; equal ones share the gradient. */
export function largerOf(tf: Tfjs, x: Tensor, y: Tensor): Tensor {
	return customGradient(tf, [x, y], (inputs, save) => {
		save([...inputs]);
		return {
			value: tf.maximum(operand(inputs, 0), operand(inputs, 1)),
			gradFunc(dy, saved) {
				const half = tf.mul(tf.sign(tf.sub(operand(saved, 0), operand(saved, 1))), 0.5);
				return [tf.mul(dy, tf.add(half, 0.5)), tf.mul(dy, tf.sub(0.5, half))];
			},
		};
	});
}

/** Over `axes`, which stay with size 1; equal largest ones share the gradient. */
export function largestAlong(tf: Tfjs, x: Tensor, axes: readonly number[]): Tensor {
	return customGradient(tf, [x], (inputs, save) => {
		const value = tf.max(operand(inputs, 0), [...axes], true);
		save([...inputs, value]);
		return {
			value,
			gradFunc(dy, saved) {
				const chosen = tf.cast(tf.equal(operand(saved, 0), operand(saved, 1)), 'float32');
				return [tf.mul(chosen, tf.div(dy, tf.sum(chosen, [...axes], true)))];
			},
		};
	});
}
