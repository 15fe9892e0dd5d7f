import type { Tensor } from '@tensorflow/tfjs';
import type { Tfjs } from './kernel.js';

/** @returns the value, and the gradients of the inputs by that of the value and by what was saved */
type Compute = (
	inputs: readonly Tensor[],
	save: (tensors: Tensor[]) => void,
) => { readonly value: Tensor; readonly gradFunc: (dy: Tensor, saved: readonly Tensor[]) => Tensor[] };

/** A computation with a gradient of its own: `tf.customGrad`, with types. */
export function customGradient(tf: Tfjs, inputs: readonly Tensor[], compute: Compute): Tensor {
	const wrapped = tf.customGrad((...given: unknown[]) =>
		compute(given.slice(0, inputs.length) as Tensor[], given[inputs.length] as (tensors: Tensor[]) => void),
	);
	return wrapped(...inputs);
}
