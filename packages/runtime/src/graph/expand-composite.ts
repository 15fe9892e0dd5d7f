import type { Value } from './graph.js';
import type { CompositeName, OpAttributes } from './op-table.js';
import {
	add,
	causalMask,
	concat,
	convAttributes,
	div,
	joinHeads,
	matmul,
	mul,
	type Ops,
	reshape,
	scalar,
	scaleBy,
	sizeOf,
	slice,
	splitHeads,
	sub,
	sum,
} from './ops.js';

type Expansion<K extends CompositeName> = (ops: Ops, inputs: readonly Value[], attributes: OpAttributes<K>) => Value;

/** What a composite means, in primitives. The engines' kernels are tested against this. */
export function expandComposite<K extends CompositeName>(ops: Ops, op: K, inputs: readonly Value[], attributes: OpAttributes<K>): Value {
	return (EXPANSIONS[op] as Expansion<K>)(ops, inputs, attributes);
}

const EXPANSIONS: { readonly [K in CompositeName]: Expansion<K> } = {
	linear(ops, inputs) {
		const [x, weight, bias] = operands(inputs);
		const y = matmul(ops, x, weight, false, true);
		return bias === undefined ? y : add(ops, y, bias);
	},
	lowRank(ops, inputs) {
		const [base, x, down, up] = operands(inputs);
		return add(ops, base, matmul(ops, matmul(ops, x, need(down), false, true), need(up), false, true));
	},
	lowRankConv(ops, inputs, attributes) {
		const [base, x, down, up] = operands(inputs);
		const inner = ops.apply('conv2d', [x, need(down)], attributes);
		return add(ops, base, ops.apply('conv2d', [inner, need(up)], convAttributes(1, 0)));
	},
	silu(ops, inputs) {
		const [x] = operands(inputs);
		return mul(ops, x, ops.apply('sigmoid', [x], {}));
	},
	gelu(ops, inputs) {
		const [x] = operands(inputs);
		const erf = ops.apply('erf', [scaleBy(ops, x, Math.SQRT1_2)], {});
		return mul(ops, scaleBy(ops, x, 0.5), add(ops, erf, scalar(ops, 1)));
	},
	quickGelu(ops, inputs) {
		const [x] = operands(inputs);
		return mul(ops, x, ops.apply('sigmoid', [scaleBy(ops, x, 1.702)], {}));
	},
	softmax(ops, inputs) {
		const [x] = operands(inputs);
		const last = x.shape.length - 1;
		// Only for range: softmax does not change when a constant is taken off, so no gradient flows through it.
		const largest = ops.apply('stopGradient', [ops.apply('amax', [x], { axes: [last] })], {});
		const e = ops.apply('exp', [sub(ops, x, largest)], {});
		return div(ops, e, sum(ops, e, last));
	},
	layerNorm(ops, inputs, { epsilon }) {
		const [x, weight, bias] = operands(inputs);
		return add(ops, mul(ops, normalized(ops, x, [x.shape.length - 1], epsilon), weight), need(bias));
	},
	groupNorm(ops, inputs, { groups, epsilon }) {
		const [x, weight, bias] = operands(inputs);
		const [b, c, ...rest] = x.shape.map((_, i) => sizeOf(x, i));
		const columns = rest.reduce((p, d) => p * d, (c ?? 0) / groups);
		const grouped = normalized(ops, reshape(ops, x, [b ?? 0, groups, columns]), [2], epsilon);
		const by = (v: Value): Value => reshape(ops, v, [c ?? 0, ...rest.map(() => 1)]);
		return add(ops, mul(ops, reshape(ops, grouped, x.shape), by(weight)), by(need(bias)));
	},
	attention(ops, inputs, { heads, scale, causal, slices }) {
		const [q, k, v] = operands(inputs);
		const [key, value] = [splitHeads(ops, k, heads), splitHeads(ops, need(v), heads)];
		const query = scaleBy(ops, splitHeads(ops, q, heads), scale);
		const [rows, columns] = [sizeOf(q, 1), sizeOf(k, 1)];
		const pieces: Value[] = [];
		const step = Math.ceil(rows / Math.max(1, slices));
		for (let from = 0; from < rows; from += step) {
			const to = Math.min(rows, from + step);
			const part = from === 0 && to === rows ? query : slice(ops, query, 2, from, to);
			let scores = matmul(ops, part, key, false, true);
			if (causal) scores = add(ops, scores, causalMask(ops, from, to, columns));
			pieces.push(matmul(ops, ops.apply('softmax', [scores], {}), value));
		}
		const [first] = pieces;
		return joinHeads(ops, pieces.length === 1 && first !== undefined ? first : concat(ops, 2, ...pieces));
	},
	upsampleNearest(ops, inputs, { height, width }) {
		const [x] = operands(inputs);
		const [b, c, h, w] = [sizeOf(x, 0), sizeOf(x, 1), sizeOf(x, 2), sizeOf(x, 3)];
		const spread = ops.apply('broadcast', [reshape(ops, x, [b, c, h, 1, w, 1])], { shape: [b, c, h, 2, w, 2] });
		let y = reshape(ops, spread, [b, c, 2 * h, 2 * w]);
		if (height < 2 * h) y = slice(ops, y, 2, 0, height);
		if (width < 2 * w) y = slice(ops, y, 3, 0, width);
		return y;
	},
};

/** (x - mean) / sqrt(variance + epsilon) over `axes`, biased variance. */
function normalized(ops: Ops, x: Value, axes: readonly number[], epsilon: number): Value {
	const share = 1 / axes.reduce((p, axis) => p * sizeOf(x, axis), 1);
	const centred = sub(ops, x, scaleBy(ops, sum(ops, x, ...axes), share));
	const variance = scaleBy(ops, sum(ops, mul(ops, centred, centred), ...axes), share);
	return div(ops, centred, ops.apply('sqrt', [add(ops, variance, scalar(ops, epsilon))], {}));
}

function operands(inputs: readonly Value[]): [Value, Value, Value | undefined, Value | undefined] {
	const [a, b, c, d] = inputs;
	return [need(a), b ?? need(a), c, d];
}

function need(value: Value | undefined): Value {
	if (value === undefined) throw new TypeError('an operand is missing');
	return value;
}
