import type { Tensor } from '@tensorflow/tfjs';
import { customGradient } from './custom-gradient.js';
import { operand, type Tfjs } from './kernel.js';

/** A computation through which no gradient flows: its gradients are zeros. */
export function withoutGradient(tf: Tfjs, inputs: readonly Tensor[], compute: (first: Tensor, second?: Tensor) => Tensor): Tensor {
	const shapes = inputs.map(({ shape }) => shape);
	return customGradient(tf, inputs, (given) => ({
		value: compute(operand(given, 0), given[1]),
		gradFunc: () => shapes.map((shape) => tf.zeros(shape)),
	}));
}
