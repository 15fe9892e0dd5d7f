import type { ConvAttributes, Ops, Pair, Shape, Value } from '@lorakit/runtime';
import { convAttributes, matmul, reshape, slice, sum, transpose } from '@lorakit/runtime/ops';
import type { Derivatives } from './derivative.js';
import { product } from './product.js';
import { overAllBut } from './product-derivatives.js';

export const convolutionDerivatives: Derivatives<'conv2d' | 'convTranspose2d' | 'lowRankConv'> = {
	conv2d({ ops, gradient, attributes, count, needs, shape, input }) {
		return [
			needs(0) ? byInput(ops, gradient, input(1), attributes, shape(0)) : undefined,
			needs(1) ? byFilter(ops, input(0), gradient, attributes, windowOf(shape(1))) : undefined,
			count > 2 && needs(2) ? overAllBut(ops, gradient, 1) : undefined,
		];
	},
	convTranspose2d({ ops, gradient, attributes: { stride, padding, dilation }, needs, shape, input }) {
		const attributes = { stride, padding, dilation };
		return [
			needs(0) ? ops.apply('conv2d', [gradient, input(1)], attributes) : undefined,
			// It is the input's gradient of a convolution from the output to the input: picture and gradient change places.
			needs(1) ? byFilter(ops, gradient, input(0), attributes, windowOf(shape(1))) : undefined,
		];
	},
	lowRankConv({ ops, gradient, attributes, needs, shape, input }) {
		const inner = needs(1) || needs(2) ? pointwiseBack(ops, gradient, input(3)) : undefined;
		return [
			gradient,
			inner !== undefined && needs(1) ? byInput(ops, inner, input(2), attributes, shape(1)) : undefined,
			inner !== undefined && needs(2) ? byFilter(ops, input(1), inner, attributes, windowOf(shape(2))) : undefined,
			needs(3) ? pointwiseFilter(ops, ops.apply('conv2d', [input(1), input(2)], attributes), gradient) : undefined,
		];
	},
};

function byInput(ops: Ops, gradient: Value, weight: Value, attributes: ConvAttributes, shape: Shape): Value {
	return ops.apply('convTranspose2d', [gradient, weight], { ...attributes, size: [Number(shape[2]), Number(shape[3])] });
}

/**
 * x (b, in, h, w), gradient (b, out, h', w') -> (out, in, kh, kw). A convolution of the picture by the gradient, with
 * batch and channels exchanged, and stride and dilation.
 */
function byFilter(ops: Ops, x: Value, gradient: Value, { stride, padding, dilation }: ConvAttributes, [kh, kw]: Pair): Value {
	if (kh === 1 && kw === 1 && [...stride, ...dilation].every((n) => n === 1) && padding.every((n) => n === 0)) {
		return pointwiseFilter(ops, x, gradient);
	}
	const [picture, kernel] = [transpose(ops, x, 1, 0, 2, 3), transpose(ops, gradient, 1, 0, 2, 3)];
	let whole = ops.apply('conv2d', [picture, kernel], { stride: dilation, padding, dilation: stride });
	// Rows and columns that the stride did not reach.
	if (whole.shape[2] !== kh) whole = slice(ops, whole, 2, 0, kh);
	if (whole.shape[3] !== kw) whole = slice(ops, whole, 3, 0, kw);
	return transpose(ops, whole, 1, 0, 2, 3);
}

/** x (b, in, h, w), gradient (b, out, h, w) -> (out, in, 1, 1) */
function pointwiseFilter(ops: Ops, x: Value, gradient: Value): Value {
	const [out = 0, inn = 0] = [gradient.shape[1], x.shape[1]];
	const each = matmul(ops, columns(ops, gradient), columns(ops, x), false, true);
	return reshape(ops, each.shape[0] === 1 ? each : sum(ops, each, 0), [out, inn, 1, 1]);
}

/** (b, out, h, w), up (out, r, 1, 1) -> (b, r, h, w) */
function pointwiseBack(ops: Ops, gradient: Value, up: Value): Value {
	const [, , h, w] = gradient.shape;
	return ops.apply('convTranspose2d', [gradient, up], { ...convAttributes(1, 0), size: [Number(h), Number(w)] });
}

/** (b, c, h, w) -> (b, c, h w) */
function columns(ops: Ops, x: Value): Value {
	const [b = 0, c = 0, ...rest] = x.shape;
	return reshape(ops, x, [b, c, product(rest)]);
}

function windowOf(shape: Shape): Pair {
	return [Number(shape[2]), Number(shape[3])];
}
