import type { Tensor, Tensor2D, Tensor4D } from '@tensorflow/tfjs';
import type { Tfjs } from './kernel.js';

/** How `tf.conv2d` was called. */
export interface FilterGradientAttributes {
	readonly filterShape: readonly [number, number, number, number];
	readonly strides: readonly [number, number] | number;
	readonly pad: 'valid' | 'same';
}

/**
 * The gradient of `tf.conv2d` by its filter in other operations: for each place of the filter one product of what it
 * met, (b oh ow, in), with the gradient of the result, (b oh ow, out).
 */
export function filterGradient(tf: Tfjs, x: Tensor4D, dy: Tensor4D, { filterShape, strides, pad }: FilterGradientAttributes): Tensor4D {
	return tf.tidy(() => {
		const [kh, kw, inn, out] = filterShape;
		const [down, across] = typeof strides === 'number' ? [strides, strides] : strides;
		const { padInfo } = tf.backend_util.computeConv2DInfo(x.shape, [kh, kw, inn, out], [down, across], 1, pad);
		const wide = tf.pad(x, [
			[0, 0],
			[padInfo.top, padInfo.bottom],
			[padInfo.left, padInfo.right],
			[0, 0],
		]);
		const [b, oh, ow] = dy.shape;
		const gradient = tf.reshape(dy, [-1, out]) as Tensor2D;
		const parts: Tensor[] = [];
		for (let i = 0; i < kh; i++) {
			for (let j = 0; j < kw; j++) {
				const end = [b, i + (oh - 1) * down + 1, j + (ow - 1) * across + 1, inn];
				const met = tf.reshape(tf.stridedSlice(wide, [0, i, j, 0], end, [1, down, across, 1]), [-1, inn]);
				parts.push(tf.matMul(tf.transpose(met), gradient));
			}
		}
		return tf.reshape(tf.stack(parts), [kh, kw, inn, out]) as Tensor4D;
	});
}

const NAME = 'Conv2DBackpropFilter';

/** TensorFlow.js' WebAssembly backend has no such kernel: without it, adapters of convolutions cannot be trained there. */
export function registerFilterGradient(tf: Tfjs): void {
	if (tf.getKernel(NAME, 'wasm') !== undefined) return;
	tf.registerKernel({
		kernelName: NAME,
		backendName: 'wasm',
		kernelFunc({ inputs, attrs }) {
			// What comes are the tensors that the gradient was asked for.
			const { x, dy } = inputs as unknown as { readonly x: Tensor4D; readonly dy: Tensor4D };
			return filterGradient(tf, x, dy, attrs as unknown as FilterGradientAttributes);
		},
	});
}
