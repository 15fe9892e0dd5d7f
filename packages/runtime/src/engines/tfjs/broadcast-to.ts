import type { Tensor } from '@tensorflow/tfjs';
import { countOf } from '../../host-tensor.js';
import type { TfjsContext } from './kernel.js';

/**
 * NumPy's broadcast_to, by one sum with zeros for each axis that stretches: the gradient of `tf.broadcastTo` ends at four
 * axes, and TensorFlow itself does not stretch every second one of six.
 */
export function broadcastTo({ tf }: TfjsContext, x: Tensor, shape: readonly number[]): Tensor {
	const missing = shape.length - x.rank;
	let y = x;
	for (const [axis, size] of shape.entries()) {
		const own = axis < missing ? 1 : x.shape[axis - missing];
		if (own === size) continue;
		const [before, after] = [countOf(shape.slice(0, axis)), countOf(x.shape.slice(Math.max(0, axis - missing + 1)))];
		y = tf.add(tf.reshape(y, [before, 1, after]), tf.zeros([before, size, after]));
	}
	return tf.reshape(y, [...shape]);
}
