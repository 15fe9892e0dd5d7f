import type { BinaryName, UnaryName } from '../../graph/index.js';
import type { Emitter, Operand } from './emitter.js';
import type { LoweringRules } from './lowering.js';

const UNARY_OPS: Readonly<Record<UnaryName, string>> = {
	neg: 'Neg',
	exp: 'Exp',
	log: 'Log',
	sqrt: 'Sqrt',
	sigmoid: 'Sigmoid',
	tanh: 'Tanh',
	erf: 'Erf',
	sin: 'Sin',
	cos: 'Cos',
	abs: 'Abs',
	sign: 'Sign',
};

const BINARY_OPS: Readonly<Record<Exclude<BinaryName, 'greater'>, string>> = {
	add: 'Add',
	sub: 'Sub',
	mul: 'Mul',
	div: 'Div',
	maximum: 'Max',
};

/** ONNX's elementwise operators broadcast as NumPy's do, which is what the graph's mean. */
export const elementwiseRules: LoweringRules<UnaryName | BinaryName> = {
	...rulesOf(UNARY_OPS),
	...rulesOf(BINARY_OPS),
	greater(emit, inputs) {
		return emit.node('Cast', [emit.node('Greater', namesOf(inputs))], { to: { int: 1 /* FLOAT */ } });
	},
};

type Rule = (emit: Emitter, inputs: readonly Operand[]) => string;

function rulesOf<K extends string>(table: Readonly<Record<K, string>>): Readonly<Record<K, Rule>> {
	const rules = Object.entries<string>(table).map(([op, opType]): [string, Rule] => [
		op,
		(emit, inputs) => emit.node(opType, namesOf(inputs)),
	]);
	return Object.fromEntries(rules) as Record<K, Rule>;
}

function namesOf(inputs: readonly Operand[]): readonly string[] {
	return inputs.map((x) => x.name);
}
