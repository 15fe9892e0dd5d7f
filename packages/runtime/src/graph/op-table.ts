import type { Shape } from './graph.js';

/** [top, bottom, left, right] */
export type Padding = readonly [number, number, number, number];
/** [vertical, horizontal] */
export type Pair = readonly [number, number];

export interface ConvAttributes {
	readonly stride: Pair;
	readonly padding: Padding;
	readonly dilation: Pair;
}

/** Elementwise functions of one operand. `erf` is the error function, `sign` is -1, 0 or 1. */
export type UnaryName = 'neg' | 'exp' | 'log' | 'sqrt' | 'sigmoid' | 'tanh' | 'erf' | 'sin' | 'cos' | 'abs' | 'sign';

/** Elementwise functions of two operands, which broadcast as NumPy's do. `greater` gives 1 or 0. */
export type BinaryName = 'add' | 'sub' | 'mul' | 'div' | 'maximum' | 'greater';

/**
 * The primitives: the derivative of each is made of them again, so that the trainer's backward graph is of the same
 * kind. Shapes are in the order of the operands.
 */
export interface PrimitiveTable extends Readonly<Record<UnaryName | BinaryName, Record<string, never>>> {
	/** (..., m, k) (..., k, n) -> (..., m, n); leading axes broadcast; either operand's last two axes may be swapped first. */
	readonly matmul: { readonly transposeA: boolean; readonly transposeB: boolean };
	/** (b, in, h, w) (out, in, kh, kw), bias (out)? -> (b, out, h', w') */
	readonly conv2d: ConvAttributes;
	/** (b, in, h, w) (in, out, kh, kw) -> (b, out, h', w'): the gradient of conv2d by its input; `size` is (h', w'). */
	readonly convTranspose2d: ConvAttributes & { readonly size: Pair };
	readonly reshape: { readonly shape: Shape };
	/** Output axis i is input axis `permutation[i]`. */
	readonly transpose: { readonly permutation: readonly number[] };
	/** Indices [start, end) of one axis. */
	readonly slice: { readonly axis: number; readonly start: number; readonly end: number };
	readonly concat: { readonly axis: number };
	/** Zeros before and after, along one axis. */
	readonly pad: { readonly axis: number; readonly before: number; readonly after: number };
	/** NumPy's broadcast_to. */
	readonly broadcast: { readonly shape: Shape };
	/** Over `axes`, which stay with size 1. */
	readonly sum: { readonly axes: readonly number[] };
	readonly amax: { readonly axes: readonly number[] };
	/** (n, d) and i32 indices of any shape -> indices' shape + (d) */
	readonly gather: Record<string, never>;
	/** i32 indices of any shape -> shape + (depth), 1 at the index, else 0 */
	readonly oneHot: { readonly depth: number };
	/** The value itself; no gradient flows through it. */
	readonly stopGradient: Record<string, never>;
	/** The first operand, not before the others are there. For what is computed again to save memory: it must not be done early. */
	readonly after: Record<string, never>;
}

/**
 * Composites: each is defined in primitives (`expand-composite.ts`), which is what it means; an engine may have a
 * kernel for it instead.
 */
export interface CompositeTable {
	/** x (..., in), weight (out, in), bias (out)? -> (..., out) */
	readonly linear: Record<string, never>;
	/** base (..., out), x (..., in), down (r, in), up (out, r) -> base + x down^T up^T. With r = 0 it is base, to the bit. */
	readonly lowRank: Record<string, never>;
	/** base (b, out, h', w'), x (b, in, h, w), down (r, in, kh, kw), up (out, r, 1, 1) -> base + conv(conv(x, down), up) */
	readonly lowRankConv: ConvAttributes;
	readonly silu: Record<string, never>;
	/** x * 0.5 * (1 + erf(x / sqrt(2))) */
	readonly gelu: Record<string, never>;
	/** x * sigmoid(1.702 x) */
	readonly quickGelu: Record<string, never>;
	/** Over the last axis. */
	readonly softmax: Record<string, never>;
	/** Over the last axis: x (..., c), weight (c), bias (c); biased variance. */
	readonly layerNorm: { readonly epsilon: number };
	/** x (b, c, ...), weight (c), bias (c); biased variance over each group of channels. */
	readonly groupNorm: { readonly groups: number; readonly epsilon: number };
	/**
	 * q (b, s, heads * d), k and v (b, t, heads * d) -> (b, s, heads * d): softmax(scale q k^T) v by head.
	 * `causal`: position i sees positions up to i. `slices`: query rows are done in so many pieces (less memory, same result).
	 */
	readonly attention: { readonly heads: number; readonly scale: number; readonly causal: boolean; readonly slices: number };
	/** (b, c, h, w) -> (b, c, height, width), index floor(i h / height): torch's mode "nearest". Each size is 2 h or 2 h - 1. */
	readonly upsampleNearest: { readonly height: number; readonly width: number };
}

export interface OpTable extends PrimitiveTable, CompositeTable {}

export type PrimitiveName = keyof PrimitiveTable;
export type CompositeName = keyof CompositeTable;
export type OpName = keyof OpTable;
export type OpAttributes<K extends OpName> = OpTable[K];

export const UNARY: readonly UnaryName[] = ['neg', 'exp', 'log', 'sqrt', 'sigmoid', 'tanh', 'erf', 'sin', 'cos', 'abs', 'sign'];
export const BINARY: readonly BinaryName[] = ['add', 'sub', 'mul', 'div', 'maximum', 'greater'];

const COMPOSITE: Readonly<Record<CompositeName, true>> = {
	linear: true,
	lowRank: true,
	lowRankConv: true,
	silu: true,
	gelu: true,
	quickGelu: true,
	softmax: true,
	layerNorm: true,
	groupNorm: true,
	attention: true,
	upsampleNearest: true,
};

export function isComposite(op: OpName): op is CompositeName {
	return Object.hasOwn(COMPOSITE, op);
}
