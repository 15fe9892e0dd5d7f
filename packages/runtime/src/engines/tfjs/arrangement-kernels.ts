import type { Tensor1D } from '@tensorflow/tfjs';
import { broadcastTo } from './broadcast-to.js';
import { type Kernels, operand, sizeAt } from './kernel.js';
import { largestAlong } from './kink-gradients.js';
import { withoutGradient } from './without-gradient.js';

export const arrangementKernels: Kernels<
	| 'reshape'
	| 'transpose'
	| 'slice'
	| 'concat'
	| 'pad'
	| 'broadcast'
	| 'sum'
	| 'amax'
	| 'gather'
	| 'oneHot'
	| 'stopGradient'
	| 'after'
	| 'upsampleNearest'
> = {
	reshape: ({ tf }, inputs, _, shape) => tf.reshape(operand(inputs, 0), [...shape]),
	transpose: ({ tf }, inputs, { permutation }) => tf.transpose(operand(inputs, 0), [...permutation]),
	slice({ tf }, inputs, { axis, start, end }) {
		const x = operand(inputs, 0);
		return tf.slice(
			x,
			x.shape.map((_, i) => (i === axis ? start : 0)),
			x.shape.map((d, i) => (i === axis ? end - start : d)),
		);
	},
	concat: ({ tf }, inputs, { axis }) =>
		tf.concat(
			inputs.filter(({ size }) => size > 0),
			axis,
		),
	pad({ tf }, inputs, { axis, before, after }) {
		const x = operand(inputs, 0);
		return tf.pad(
			x,
			x.shape.map((_, i): [number, number] => (i === axis ? [before, after] : [0, 0])),
		);
	},
	broadcast: (context, inputs, _, shape) => broadcastTo(context, operand(inputs, 0), shape),
	sum: ({ tf }, inputs, { axes }) => (axes.length === 0 ? tf.clone(operand(inputs, 0)) : tf.sum(operand(inputs, 0), [...axes], true)),
	amax: ({ tf }, inputs, { axes }) => (axes.length === 0 ? tf.clone(operand(inputs, 0)) : largestAlong(tf, operand(inputs, 0), axes)),
	gather({ tf }, inputs, _, shape) {
		const ids = tf.reshape(operand(inputs, 1), [-1]) as Tensor1D;
		return tf.reshape(tf.gather(operand(inputs, 0), ids, 0), [...shape]);
	},
	oneHot({ tf }, inputs, { depth }, shape) {
		const ids = tf.reshape(operand(inputs, 0), [-1]) as Tensor1D;
		// TensorFlow.js refuses a depth of 1.
		const rows = tf.cast(tf.oneHot(ids, Math.max(2, depth)), 'float32');
		return tf.reshape(tf.slice(rows, [0, 0], [-1, depth]), [...shape]);
	},
	after: ({ tf }, inputs) => tf.clone(operand(inputs, 0)),
	stopGradient: ({ tf }, inputs) => withoutGradient(tf, [operand(inputs, 0)], (x) => tf.clone(x)),
	upsampleNearest({ tf }, inputs, { height, width }, shape) {
		const x = operand(inputs, 0);
		const [b, c, h, w] = [sizeAt(x, 0), sizeAt(x, 1), sizeAt(x, 2), sizeAt(x, 3)];
		const wide = tf.reshape(tf.tile(tf.reshape(x, [b * c * h * w, 1]), [1, 2]), [b * c * h, 2 * w]);
		const narrowed = width < 2 * w ? tf.slice(wide, [0, 0], [-1, width]) : wide;
		const tall = tf.reshape(tf.tile(tf.reshape(narrowed, [b * c * h, 1, width]), [1, 2, 1]), [b * c, 2 * h, width]);
		return tf.reshape(height < 2 * h ? tf.slice(tall, [0, 0, 0], [-1, height, -1]) : tall, [...shape]);
	},
};
