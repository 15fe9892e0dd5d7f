import type { Tensor } from '@tensorflow/tfjs';
import type { OpAttributes, OpName } from '../../graph/op-table.js';

/** The module `@tensorflow/tfjs`, or one that has the same members (`@tensorflow/tfjs-node`). */
export type Tfjs = typeof import('@tensorflow/tfjs');

/** What computes under TensorFlow.js: the TensorFlow library, a graphics card, WebAssembly, plain JavaScript. */
export type TfjsBackend = 'tensorflow' | 'webgpu' | 'wasm' | 'cpu';

/** What kernels need to know. */
export interface TfjsContext {
	readonly tf: Tfjs;
	readonly backend: TfjsBackend;
}

/**
 * One operation in TensorFlow.js' own ops, so that its gradients go through. `shape` is that of the result. What is
 * made on the way is left to `tf.tidy` of the caller.
 */
export type Kernel<K extends OpName> = (
	context: TfjsContext,
	inputs: readonly Tensor[],
	attributes: OpAttributes<K>,
	shape: readonly number[],
) => Tensor;

export type Kernels<K extends OpName> = { readonly [P in K]: Kernel<P> };

/** An operand that the operation cannot do without. */
export function operand(inputs: readonly Tensor[], index: number): Tensor {
	const found = inputs[index];
	if (found === undefined) throw new TypeError(`operand ${index} is missing`);
	return found;
}

/** A size of a tensor. */
export function sizeAt(tensor: Tensor, axis: number): number {
	const d = tensor.shape[axis < 0 ? axis + tensor.rank : axis];
	if (d === undefined) throw new TypeError(`no axis ${axis} in (${tensor.shape.join(', ')})`);
	return d;
}
