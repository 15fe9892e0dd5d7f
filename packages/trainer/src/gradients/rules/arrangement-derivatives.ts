import type { Value } from '@lorakit/runtime';
import { div, matmul, mul, reshape, slice, sum, transpose } from '@lorakit/runtime/ops';
import type { Contribution, Derivatives } from './derivative.js';
import { oneMinus } from './elementwise-derivatives.js';
import { product } from './product.js';
import { unbroadcast } from './unbroadcast.js';

type Arrangements =
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
	| 'upsampleNearest';

export const arrangementDerivatives: Derivatives<Arrangements> = {
	reshape: ({ ops, gradient, shape }) => [reshape(ops, gradient, shape(0))],
	transpose({ ops, gradient, attributes: { permutation } }) {
		return [transpose(ops, gradient, ...permutation.map((_, i) => permutation.indexOf(i)))];
	},
	slice: ({ gradient, attributes }) => [{ ...attributes, part: gradient }],
	concat({ ops, gradient, attributes: { axis }, count, needs, shape }) {
		let start = 0;
		return Array.from({ length: count }, (_, i): Contribution | undefined => {
			const from = start;
			start += Number(shape(i)[axis]);
			return needs(i) ? slice(ops, gradient, axis, from, start) : undefined;
		});
	},
	pad({ ops, gradient, attributes: { axis, before }, shape }) {
		return [slice(ops, gradient, axis, before, before + Number(shape(0)[axis]))];
	},
	broadcast: ({ ops, gradient, shape }) => [unbroadcast(ops, gradient, shape(0))],
	sum: ({ ops, gradient, shape }) => [ops.apply('broadcast', [gradient], { shape: shape(0) })],
	/** Equal largest ones share it, as torch's `amax` has it. */
	amax({ ops, gradient, attributes: { axes }, input, output }) {
		const largest = oneMinus(ops, ops.apply('greater', [output(), input(0)], {}));
		return [mul(ops, largest, div(ops, gradient, sum(ops, largest, ...axes)))];
	},
	/** As a product, which every engine has a fast kernel for. */
	gather({ ops, gradient, needs, shape, input }) {
		if (!needs(0)) return [undefined];
		const [rows = 0, width = 0] = shape(0);
		const count = product(shape(1));
		const chosen = reshape(ops, ops.apply('oneHot', [input(1)], { depth: Number(rows) }), [count, rows]);
		return [matmul(ops, chosen, reshape(ops, gradient, [count, width]), true, false)];
	},
	oneHot: () => [undefined],
	stopGradient: () => [undefined],
	after: ({ gradient }) => [gradient],
	upsampleNearest({ ops, gradient, attributes: { height, width }, shape }) {
		const [b = 0, c = 0, h, w] = shape(0);
		const [rows, columns] = [Number(h), Number(w)];
		let whole: Value = gradient;
		if (height < 2 * rows) whole = ops.apply('pad', [whole], { axis: 2, before: 0, after: 1 });
		if (width < 2 * columns) whole = ops.apply('pad', [whole], { axis: 3, before: 0, after: 1 });
		const four = reshape(ops, whole, [b, c, rows, 2, columns, 2]);
		return [reshape(ops, sum(ops, four, 3, 5), [b, c, rows, columns])];
	},
};
