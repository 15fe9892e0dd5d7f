import type { Ops, Value } from '@lorakit/runtime';
import { add, div, mul, reshape, scalar, scaleBy, sizeOf, sub, sum } from '@lorakit/runtime/ops';
import type { Derivatives } from './derivative.js';
import { oneMinus } from './elementwise-derivatives.js';
import { overAllBut } from './product-derivatives.js';

export const normDerivatives: Derivatives<'layerNorm' | 'groupNorm' | 'softmax' | 'silu' | 'gelu' | 'quickGelu'> = {
	layerNorm({ ops, gradient, attributes: { epsilon }, needs, input }) {
		const x = input(0);
		const last = x.shape.length - 1;
		const { normal, deviation } = normalized(ops, x, last, epsilon);
		return [
			needs(0) ? throughNorm(ops, mul(ops, gradient, input(1)), normal, deviation, last) : undefined,
			needs(1) ? overAllBut(ops, mul(ops, gradient, normal), last) : undefined,
			needs(2) ? overAllBut(ops, gradient, last) : undefined,
		];
	},
	groupNorm({ ops, gradient, attributes: { groups, epsilon }, needs, input }) {
		const x = input(0);
		const [b = 0, channels = 0, ...rest] = x.shape;
		const columns = rest.reduce<number>((p, d) => p * Number(d), Number(channels) / groups);
		const grouped = (v: Value): Value => reshape(ops, v, [b, groups, columns]);
		const { normal, deviation } = normalized(ops, grouped(x), 2, epsilon);
		const weighted = (): Value => mul(ops, gradient, reshape(ops, input(1), [channels, ...rest.map(() => 1)]));
		return [
			needs(0) ? reshape(ops, throughNorm(ops, grouped(weighted()), normal, deviation, 2), x.shape) : undefined,
			needs(1) ? overAllBut(ops, mul(ops, gradient, reshape(ops, normal, x.shape)), 1) : undefined,
			needs(2) ? overAllBut(ops, gradient, 1) : undefined,
		];
	},
	softmax({ ops, gradient, output }) {
		const y = output();
		const weighted = mul(ops, gradient, y);
		return [sub(ops, weighted, mul(ops, y, sum(ops, weighted, y.shape.length - 1)))];
	},
	/** s + x s (1 - s), s the sigmoid */
	silu: ({ ops, gradient, input }) => [mul(ops, gradient, gateSlope(ops, input(0), 1))],
	quickGelu: ({ ops, gradient, input }) => [mul(ops, gradient, gateSlope(ops, input(0), 1.702))],
	/** The normal distribution and x times its density. */
	gelu({ ops, gradient, input }) {
		const x = input(0);
		const half = scaleBy(ops, ops.apply('erf', [scaleBy(ops, x, Math.SQRT1_2)], {}), 0.5);
		const density = scaleBy(ops, ops.apply('exp', [scaleBy(ops, mul(ops, x, x), -0.5)], {}), 1 / Math.sqrt(2 * Math.PI));
		return [mul(ops, gradient, add(ops, add(ops, half, scalar(ops, 0.5)), mul(ops, x, density)))];
	},
};

/** Derivative of x * sigmoid(a x). */
function gateSlope(ops: Ops, x: Value, a: number): Value {
	const scaled = a === 1 ? x : scaleBy(ops, x, a);
	const s = ops.apply('sigmoid', [scaled], {});
	return mul(ops, s, add(ops, mul(ops, scaled, oneMinus(ops, s)), scalar(ops, 1)));
}

/** (x - mean) / deviation along one axis, and the deviation: sqrt(biased variance + epsilon). */
function normalized(ops: Ops, x: Value, axis: number, epsilon: number): { readonly normal: Value; readonly deviation: Value } {
	const share = 1 / sizeOf(x, axis);
	const centred = sub(ops, x, scaleBy(ops, sum(ops, x, axis), share));
	const variance = scaleBy(ops, sum(ops, mul(ops, centred, centred), axis), share);
	const deviation = ops.apply('sqrt', [add(ops, variance, scalar(ops, epsilon))], {});
	return { normal: div(ops, centred, deviation), deviation };
}

/** (g - mean(g) - normal * mean(g * normal)) / deviation */
function throughNorm(ops: Ops, g: Value, normal: Value, deviation: Value, axis: number): Value {
	const share = 1 / sizeOf(g, axis);
	const mean = (v: Value): Value => scaleBy(ops, sum(ops, v, axis), share);
	const along = mul(ops, normal, mean(mul(ops, g, normal)));
	return div(ops, sub(ops, sub(ops, g, mean(g)), along), deviation);
}
