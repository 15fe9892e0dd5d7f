import type { Tensor, Tensor4D } from '@tensorflow/tfjs';
import type { ConvAttributes, Padding, Pair } from '../../graph/op-table.js';
import { type Kernels, operand, sizeAt, type TfjsContext } from './kernel.js';

/**
 * TensorFlow.js convolves (b, h, w, c) with (kh, kw, in, out): its (b, c, h, w) exists on some backends only. The
 * pictures are turned round at each convolution, which costs a few per cent of it; filters once, when they are loaded.
 */
export const convolutionKernels: Kernels<'conv2d' | 'convTranspose2d' | 'lowRankConv'> = {
	conv2d(context, inputs, attributes) {
		return conv2dOfHwio(context, [operand(inputs, 0), toHwio(context, operand(inputs, 1)), ...inputs.slice(2)], attributes);
	},

	convTranspose2d(context, inputs, { stride, padding, dilation, size }) {
		const { tf } = context;
		const x = toChannelsLast(context, operand(inputs, 0));
		const filter = dilated(context, tf.transpose(operand(inputs, 1) as Tensor4D, [2, 3, 1, 0]), dilation);
		const [top, bottom, left, right] = padding;
		const [height, width] = [size[0] + top + bottom, size[1] + left + right];
		const whole: [number, number, number, number] = [sizeAt(x, 0), height, width, sizeAt(filter, 2)];
		const y = tf.conv2dTranspose(x, filter, whole, [...stride], 'valid');
		const inside = padding.every((p) => p === 0) ? y : tf.slice(y, [0, top, left, 0], [-1, size[0], size[1], -1]);
		return toChannelsFirst(context, inside);
	},

	lowRankConv(context, inputs, attributes) {
		const { tf } = context;
		const [base, x, down, up] = [operand(inputs, 0), operand(inputs, 1), operand(inputs, 2), operand(inputs, 3)];
		const inner = convolve(context, toChannelsLast(context, x), toHwio(context, down), attributes);
		const outer = convolve(context, inner, toHwio(context, up), POINT);
		return tf.add(base, toChannelsFirst(context, outer));
	},
};

const POINT: ConvAttributes = { stride: [1, 1], padding: [0, 0, 0, 0], dilation: [1, 1] };

/** `conv2d` with its filter already as (kh, kw, in, out). */
export function conv2dOfHwio(context: TfjsContext, inputs: readonly Tensor[], attributes: ConvAttributes): Tensor {
	const bias = inputs[2];
	const y = convolve(context, toChannelsLast(context, operand(inputs, 0)), operand(inputs, 1) as Tensor4D, attributes);
	return toChannelsFirst(context, bias === undefined ? y : context.tf.add(y, bias));
}

/** (out, in, kh, kw) -> (kh, kw, in, out) */
export function toHwio({ tf }: TfjsContext, filter: Tensor): Tensor4D {
	return tf.transpose(filter as Tensor4D, [2, 3, 1, 0]);
}

function toChannelsLast({ tf }: TfjsContext, x: Tensor): Tensor4D {
	return tf.transpose(x as Tensor4D, [0, 2, 3, 1]);
}

function toChannelsFirst({ tf }: TfjsContext, x: Tensor4D): Tensor4D {
	return tf.transpose(x, [0, 3, 1, 2]);
}

/**
 * Padding is `valid`, `same` or an operation of its own, and a dilated filter is written out: TensorFlow's gradients
 * know no other padding, and TensorFlow.js' no dilation.
 */
function convolve(context: TfjsContext, x: Tensor4D, filter: Tensor4D, { stride, padding, dilation }: ConvAttributes): Tensor4D {
	const { tf } = context;
	const spread = dilated(context, filter, dilation);
	if (padding.every((p) => p === 0)) return tf.conv2d(x, spread, [...stride], 'valid');
	if (isSame(x, spread, stride, padding)) return tf.conv2d(x, spread, [...stride], 'same');
	const [top, bottom, left, right] = padding;
	const wide = tf.pad(x, [
		[0, 0],
		[top, bottom],
		[left, right],
		[0, 0],
	]);
	return tf.conv2d(wide, spread, [...stride], 'valid');
}

/** Is this TensorFlow's padding that makes ceil(size / stride) of each size, the odd one at the end? */
function isSame(x: Tensor4D, filter: Tensor4D, stride: Pair, [top, bottom, left, right]: Padding): boolean {
	const sides = [
		[top, bottom],
		[left, right],
	] as const;
	return sides.every(([before, after], axis) => {
		const by = stride[axis] ?? 1;
		const size = sizeAt(x, 1 + axis);
		const total = Math.max(0, (Math.ceil(size / by) - 1) * by + sizeAt(filter, axis) - size);
		return before === Math.floor(total / 2) && before + after === total;
	});
}

/** A filter with zeros between its elements. */
function dilated({ tf }: TfjsContext, filter: Tensor4D, [down, across]: Pair): Tensor4D {
	if (down === 1 && across === 1) return filter;
	const [kh, kw, a, b] = filter.shape;
	const rows = tf.pad(tf.reshape(filter, [kh, 1, kw * a * b]), [
		[0, 0],
		[0, down - 1],
		[0, 0],
	]);
	const height = (kh - 1) * down + 1;
	const tall = tf.slice(tf.reshape(rows, [kh * down, kw, 1, a * b]), [0, 0, 0, 0], [height, kw, 1, a * b]);
	const columns = tf.pad(tall, [
		[0, 0],
		[0, 0],
		[0, across - 1],
		[0, 0],
	]);
	const width = (kw - 1) * across + 1;
	return tf.reshape(tf.slice(tf.reshape(columns, [height, kw * across, a * b]), [0, 0, 0], [height, width, a * b]), [height, width, a, b]);
}
