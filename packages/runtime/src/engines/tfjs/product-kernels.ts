import type { Tensor } from '@tensorflow/tfjs';
import { broadcastShapes } from '../../graph/index.js';
import { countOf } from '../../host-tensor.js';
import { broadcastTo } from './broadcast-to.js';
import { type Kernels, operand, sizeAt, type TfjsContext } from './kernel.js';

export const productKernels: Kernels<'matmul' | 'linear' | 'lowRank'> = {
	matmul(context, inputs, { transposeA, transposeB }, shape) {
		const { tf } = context;
		const [a, b] = [operand(inputs, 0), operand(inputs, 1)];
		if (b.rank === 2 && !transposeA) {
			const rows = tf.reshape(a, [-1, sizeAt(a, -1)]);
			return tf.reshape(product(context, rows, b, false, transposeB), [...shape]);
		}
		// The gradient of TensorFlow.js' product does not add up what was broadcast, so that is an operation of its own.
		const batch = broadcastShapes(a.shape.slice(0, -2), b.shape.slice(0, -2)) as readonly number[];
		const spread = (x: Tensor): Tensor => {
			const matrix = x.shape.slice(-2);
			return tf.reshape(broadcastTo(context, x, [...batch, ...matrix]), [countOf(batch), ...matrix]);
		};
		return tf.reshape(product(context, spread(a), spread(b), transposeA, transposeB), [...shape]);
	},

	linear(context, inputs, _, shape) {
		const [x, weight] = [operand(inputs, 0), operand(inputs, 1)];
		return affine(context, x, (rows) => product(context, rows, weight, false, true), inputs[2], shape);
	},

	lowRank(context, inputs, _, shape) {
		const { tf } = context;
		const [base, x, down, up] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2), operand(inputs, 3)];
		const rows = tf.reshape(x, [-1, sizeAt(x, -1)]);
		const inner = product(context, rows, down, false, true);
		return tf.add(base, tf.reshape(product(context, inner, up, false, true), [...shape]));
	},
};

/** `linear` with its weight already as (in, out). */
export function linearOfColumns(context: TfjsContext, inputs: readonly Tensor[], shape: readonly number[]): Tensor {
	const [x, weight] = [operand(inputs, 0), operand(inputs, 1)];
	return affine(context, x, (rows) => product(context, rows, weight, false, false), inputs[2], shape);
}

function affine(
	{ tf }: TfjsContext,
	x: Tensor,
	multiply: (rows: Tensor) => Tensor,
	bias: Tensor | undefined,
	shape: readonly number[],
): Tensor {
	const y = multiply(tf.reshape(x, [-1, sizeAt(x, -1)]));
	return tf.reshape(bias === undefined ? y : tf.add(y, bias), [...shape]);
}

/**
 * Should the pairs of a batch of (m, k) (k, n) be multiplied one by one? WebAssembly has a fast product for one pair of
 * matrices as they are, and one that is three to ten times slower for batches and swapped axes.
 */
export function worthACall({ backend }: TfjsContext, m: number, k: number, n: number): boolean {
	return backend === 'wasm' && m * k * n >= 2 ** 15;
}

/** (m, k) (k, n), or the same in a batch: (b, m, k) (b, k, n). */
export function product(context: TfjsContext, a: Tensor, b: Tensor, transposeA: boolean, transposeB: boolean): Tensor {
	const { tf, backend } = context;
	if (backend !== 'wasm') return tf.matMul(a, b, transposeA, transposeB);
	const left = transposeA ? swapLast(context, a) : a;
	const right = transposeB ? swapLast(context, b) : b;
	const batch = a.rank === 3 ? sizeAt(a, 0) : 1;
	const [m, k, n] = [sizeAt(left, -2), sizeAt(left, -1), sizeAt(right, -1)];
	if (batch === 1 || !worthACall(context, m, k, n)) return tf.matMul(left, right);
	// Not by slices: the gradient of each would be as large as the whole.
	const rights = tf.split(right, batch, 0);
	const parts = tf.split(left, batch, 0).map((one, i) => tf.matMul(one, rights[i] ?? right));
	return tf.concat(parts, 0);
}

function swapLast({ tf }: TfjsContext, x: Tensor): Tensor {
	return tf.transpose(x, x.rank === 3 ? [0, 2, 1] : [1, 0]);
}
