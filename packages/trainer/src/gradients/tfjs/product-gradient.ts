import type { Tfjs } from '@lorakit/runtime/engines/tfjs';
import type { Tensor } from '@tensorflow/tfjs';

const NAME = 'BatchMatMul';

/** Instances of TensorFlow.js that have it. */
const registered = new WeakSet<object>();

/**
 * The gradient of `tf.matMul` with transposed operands written out: WebAssembly's product with swapped axes is ten times
 * slower than one swap and one product. On other backends it asks for swapped axes, as TensorFlow.js' own does.
 */
export function registerProductGradient(tf: Tfjs): void {
	if (registered.has(tf)) return;
	registered.add(tf);
	const swap = (x: Tensor): Tensor => tf.transpose(x, x.rank === 3 ? [0, 2, 1] : [1, 0]);
	const product = (a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor => {
		if (tf.getBackend() !== 'wasm') return tf.matMul(a, b, transposeA, transposeB);
		return tf.matMul(transposeA ? swap(a) : a, transposeB ? swap(b) : b);
	};
	tf.registerGradient({
		kernelName: NAME,
		inputsToSave: ['a', 'b'],
		gradFunc(dy, saved, attrs) {
			const [a, b] = saved as [Tensor, Tensor];
			const { transposeA, transposeB } = attrs as unknown as { readonly transposeA: boolean; readonly transposeB: boolean };
			const g = dy as Tensor;
			// y = op(a) op(b): the gradient of op(a) is g op(b)^T, that of op(b) is op(a)^T g.
			return {
				a: () => (transposeA ? product(b, g, transposeB, true) : product(g, b, false, !transposeB)),
				b: () => (transposeB ? product(g, a, true, transposeA) : product(a, g, !transposeA, false)),
			};
		},
	});
}
