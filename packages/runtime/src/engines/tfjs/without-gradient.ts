import type { Tensor } from '@tensorflow/tfjs';
import type { Tfjs } from './kernel.js';

/** A computation through which no gradient flows: its gradients are zeros. */
export function withoutGradient(tf: Tfjs, inputs: readonly Tensor[], compute: (first: Tensor, second?: Tensor) => Tensor): Tensor {
	const shapes = inputs.map(({ shape }) => shape);
	const wrapped = tf.customGrad((...given: unknown[]) => {
		// The last argument saves tensors for the gradient, which needs none.
		const [first, second] = given.slice(0, inputs.length) as [Tensor, Tensor?];
		return { value: compute(first, second), gradFunc: () => shapes.map((shape) => tf.zeros(shape)) };
	});
	return wrapped(...inputs);
}
