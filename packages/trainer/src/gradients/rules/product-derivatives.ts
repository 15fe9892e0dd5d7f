import type { Ops, Value } from '@lorakit/runtime';
import { matmul, reshape, sum } from '@lorakit/runtime/ops';
import type { Derivatives } from './derivative.js';
import { product } from './product.js';
import { unbroadcast } from './unbroadcast.js';

export const productDerivatives: Derivatives<'matmul' | 'linear' | 'lowRank'> = {
	matmul({ ops, gradient, attributes: { transposeA, transposeB }, needs, shape, input }) {
		const first = (): Value => {
			const b = input(1);
			const whole = transposeA ? matmul(ops, b, gradient, transposeB, true) : matmul(ops, gradient, b, false, !transposeB);
			return unbroadcast(ops, whole, shape(0));
		};
		const second = (): Value => {
			const a = input(0);
			// One product over all rows, where the second operand is one matrix for all of them.
			if (shape(1).length === 2 && a.shape.length > 2 && !transposeA) {
				return transposeB ? overRows(ops, gradient, a) : overRows(ops, a, gradient);
			}
			const whole = transposeB ? matmul(ops, gradient, a, true, transposeA) : matmul(ops, a, gradient, !transposeA, false);
			return unbroadcast(ops, whole, shape(1));
		};
		return [needs(0) ? first() : undefined, needs(1) ? second() : undefined];
	},
	linear({ ops, gradient, count, needs, shape, input }) {
		return [
			needs(0) ? matmul(ops, gradient, input(1)) : undefined,
			needs(1) ? overRows(ops, gradient, input(0)) : undefined,
			count > 2 && needs(2) ? unbroadcast(ops, gradient, shape(2)) : undefined,
		];
	},
	lowRank({ ops, gradient, needs, input }) {
		const inner = needs(1) || needs(2) ? matmul(ops, gradient, input(3)) : undefined;
		return [
			gradient,
			inner !== undefined && needs(1) ? matmul(ops, inner, input(2)) : undefined,
			inner !== undefined && needs(2) ? overRows(ops, inner, input(1)) : undefined,
			needs(3) ? overRows(ops, gradient, matmul(ops, input(1), input(2), false, true)) : undefined,
		];
	},
};

/** a (..., m), b (..., n) -> (m, n): the sum over rows of the outer products. */
export function overRows(ops: Ops, a: Value, b: Value): Value {
	return matmul(ops, rows(ops, a), rows(ops, b), true, false);
}

function rows(ops: Ops, x: Value): Value {
	const { shape } = x;
	return shape.length === 2 ? x : reshape(ops, x, [product(shape.slice(0, -1)), shape.at(-1) ?? 1]);
}

/** Sum over all axes but one, as a vector. */
export function overAllBut(ops: Ops, x: Value, axis: number): Value {
	const others = x.shape.flatMap((_, i) => (i === axis ? [] : [i]));
	return reshape(ops, sum(ops, x, ...others), [x.shape[axis] ?? 1]);
}
