import type { BinaryName, Ops, UnaryName, Value } from '@lorakit/runtime';
import { add, div, mul, scalar, scaleBy, sub } from '@lorakit/runtime/ops';
import type { DerivativeCall, Derivatives } from './derivative.js';
import { unbroadcast } from './unbroadcast.js';

export const elementwiseDerivatives: Derivatives<UnaryName | BinaryName> = {
	neg: ({ ops, gradient }) => [ops.apply('neg', [gradient], {})],
	exp: ({ ops, gradient, output }) => [mul(ops, gradient, output())],
	log: ({ ops, gradient, input }) => [div(ops, gradient, input(0))],
	sqrt: ({ ops, gradient, output }) => [div(ops, scaleBy(ops, gradient, 0.5), output())],
	sigmoid({ ops, gradient, output }) {
		const y = output();
		return [mul(ops, gradient, mul(ops, y, oneMinus(ops, y)))];
	},
	tanh({ ops, gradient, output }) {
		const y = output();
		return [mul(ops, gradient, oneMinus(ops, mul(ops, y, y)))];
	},
	erf({ ops, gradient, input }) {
		const x = input(0);
		const bell = ops.apply('exp', [ops.apply('neg', [mul(ops, x, x)], {})], {});
		return [mul(ops, gradient, scaleBy(ops, bell, 2 / Math.sqrt(Math.PI)))];
	},
	sin: ({ ops, gradient, input }) => [mul(ops, gradient, ops.apply('cos', [input(0)], {}))],
	cos: ({ ops, gradient, input }) => [mul(ops, gradient, ops.apply('neg', [ops.apply('sin', [input(0)], {})], {}))],
	abs: ({ ops, gradient, input }) => [mul(ops, gradient, ops.apply('sign', [input(0)], {}))],
	sign: () => [undefined],
	add: (call) => both(call, call.gradient, call.gradient),
	sub: (call) => both(call, call.gradient, () => call.ops.apply('neg', [call.gradient], {})),
	mul: (call) =>
		both(
			call,
			() => mul(call.ops, call.gradient, call.input(1)),
			() => mul(call.ops, call.gradient, call.input(0)),
		),
	div: (call) =>
		both(
			call,
			() => div(call.ops, call.gradient, call.input(1)),
			() => call.ops.apply('neg', [div(call.ops, mul(call.ops, call.gradient, call.output()), call.input(1))], {}),
		),
	/** Where both are equal each has half, as torch has it. */
	maximum(call) {
		const { ops, gradient } = call;
		const share = (a: number, b: number): Value => {
			const [larger, smaller] = [
				ops.apply('greater', [call.input(a), call.input(b)], {}),
				ops.apply('greater', [call.input(b), call.input(a)], {}),
			];
			return mul(ops, gradient, scaleBy(ops, add(ops, oneMinus(ops, smaller), larger), 0.5));
		};
		return both(
			call,
			() => share(0, 1),
			() => share(1, 0),
		);
	},
	greater: () => [undefined, undefined],
};

export function oneMinus(ops: Ops, x: Value): Value {
	return sub(ops, scalar(ops, 1), x);
}

type Made = Value | (() => Value);

function both({ ops, needs, shape }: DerivativeCall<BinaryName>, a: Made, b: Made): readonly (Value | undefined)[] {
	return [a, b].map((made, i) => (needs(i) ? unbroadcast(ops, typeof made === 'function' ? made() : made, shape(i)) : undefined));
}
