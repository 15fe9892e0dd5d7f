import type { Tfjs, TfjsContext } from '@lorakit/runtime/engines/tfjs';
import type { Tensor, Tensor1D } from '@tensorflow/tfjs';
import { registerProductGradient } from './product-gradient.js';

/** Kernels that gradients need and the backend lacks; the gradient by a filter is registered by `openBackend`. */
export function registerMissing({ tf, backend }: TfjsContext): void {
	if (tf.getKernel(SEGMENT_SUM, backend) === undefined) registerSegmentSum(tf, backend);
	if (backend === 'wasm') registerProductGradient(tf);
}

/** The gradient of `tf.gather` by its table: rows of the gradient added up where their index says. */
const SEGMENT_SUM = 'UnsortedSegmentSum';

/** As a product with one-hot rows, (rows, n)^T (n, width). */
function registerSegmentSum(tf: Tfjs, backend: string): void {
	tf.registerKernel({
		kernelName: SEGMENT_SUM,
		backendName: backend,
		kernelFunc({ inputs, attrs }) {
			// What comes are the tensors that the gradient was asked for.
			const { x, segmentIds } = inputs as unknown as { readonly x: Tensor; readonly segmentIds: Tensor1D };
			const { numSegments } = attrs as unknown as { readonly numSegments: number };
			return tf.tidy(() => {
				// TensorFlow.js refuses a depth of 1.
				const oneHot = tf.cast(tf.oneHot(segmentIds, Math.max(2, numSegments)), 'float32');
				const rows = tf.transpose(oneHot, [1, 0]);
				const sums = tf.matMul(rows, tf.reshape(x, [x.shape[0] ?? 0, -1]));
				return tf.reshape(tf.slice(sums, [0, 0], [numSegments, -1]), [numSegments, ...x.shape.slice(1)]);
			});
		},
	});
}
