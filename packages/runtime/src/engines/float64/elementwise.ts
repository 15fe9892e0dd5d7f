import { broadcastShapes } from '../../graph/index.js';
import type { BinaryName, UnaryName } from '../../graph/op-table.js';
import { type Array64, broadcastStrides, walk, zeros } from './array64.js';
import { erf } from './error-function.js';

const UNARY_OF: Readonly<Record<UnaryName, (x: number) => number>> = {
	neg: (x) => -x,
	exp: Math.exp,
	log: Math.log,
	sqrt: Math.sqrt,
	sigmoid: (x) => 1 / (1 + Math.exp(-x)),
	tanh: Math.tanh,
	erf,
	sin: Math.sin,
	cos: Math.cos,
	abs: Math.abs,
	sign: Math.sign,
};

const BINARY_OF: Readonly<Record<BinaryName, (a: number, b: number) => number>> = {
	add: (a, b) => a + b,
	sub: (a, b) => a - b,
	mul: (a, b) => a * b,
	div: (a, b) => a / b,
	maximum: (a, b) => Math.max(a, b),
	greater: (a, b) => (a > b ? 1 : 0),
};

export function unary(op: UnaryName, x: Array64): Array64 {
	return { shape: x.shape, data: x.data.map(UNARY_OF[op]) };
}

export function binary(op: BinaryName, a: Array64, b: Array64): Array64 {
	const f = BINARY_OF[op];
	const shape = broadcastShapes(a.shape, b.shape) as readonly number[];
	const out = zeros(shape);
	let i = 0;
	walk(shape, broadcastStrides(a.shape, shape), broadcastStrides(b.shape, shape), (x, y) => {
		out.data[i++] = f(a.data[x] ?? 0, b.data[y] ?? 0);
	});
	return out;
}
