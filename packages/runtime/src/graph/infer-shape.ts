import { FormatError } from '@lorakit/format';
import type { Dim, GraphDType, Shape } from './graph.js';
import { BINARY, type ConvAttributes, type OpAttributes, type OpName, UNARY } from './op-table.js';

/** What an operation gives. */
export interface Inferred {
	readonly shape: Shape;
	readonly dtype: GraphDType;
}

type Rule<K extends OpName> = (shapes: readonly Shape[], attributes: OpAttributes<K>) => Shape;

/**
 * Shape and type of an operation's output. Sizes that have names (ranks) are only ever passed on or compared.
 * @throws {FormatError} `E_SHAPE` when the operands do not fit each other: a base whose weights and configuration disagree.
 */
export function inferShape<K extends OpName>(op: K, shapes: readonly Shape[], attributes: OpAttributes<K>, scope: string): Inferred {
	const rule = RULES[op] as Rule<K>;
	try {
		return { shape: rule(shapes, attributes), dtype: 'f32' };
	} catch (error) {
		if (!(error instanceof Misfit)) throw error;
		const given = shapes.map((s) => `(${s.join(', ')})`).join(', ');
		throw new FormatError(
			'E_SHAPE',
			`${scope}: ${op} cannot take ${given}: ${error.message}. The base's configuration and weights disagree.`,
			{
				at: scope,
			},
		);
	}
}

class Misfit extends Error {}

const RULES: { readonly [K in OpName]: Rule<K> } = {
	...every(UNARY, same),
	...every(BINARY, broadcastAll),
	matmul([a, b], { transposeA, transposeB }) {
		const [m, k] = lastTwo(a, transposeA);
		const [k2, n] = lastTwo(b, transposeB);
		equal(k, k2, 'inner sizes');
		return [...broadcastShapes(leading(a), leading(b)), m, n];
	},
	conv2d([x, w, bias], attributes) {
		const [b, channels, height, width] = four(x);
		const [out, inn, kh, kw] = four(w);
		equal(channels, inn, 'channels');
		if (bias !== undefined) equal(at(bias, 0), out, 'bias');
		return [b, out, ...convSize(num(height), num(width), num(kh), num(kw), attributes)];
	},
	convTranspose2d([x, w], { size }) {
		const [b, channels] = four(x);
		const [inn, out] = four(w);
		equal(channels, inn, 'channels');
		return [b, out, ...size];
	},
	reshape([x], { shape }) {
		const [from, to] = [known(x ?? []), known(shape)];
		if (from.product !== to.product || from.names !== to.names) throw new Misfit(`not as many elements as (${shape.join(', ')})`);
		return shape;
	},
	transpose([x], { permutation }) {
		return permutation.map((axis) => at(x, axis));
	},
	slice([x], { axis, start, end }) {
		if (start < 0 || end > num(at(x, axis)) || start > end) throw new Misfit(`no indices ${start} to ${end} on axis ${axis}`);
		return replaced(x, axis, end - start);
	},
	concat(shapes, { axis }) {
		const [first] = shapes;
		let total: Dim = 0;
		for (const shape of shapes) {
			shape.forEach((d, i) => {
				if (i !== axis) equal(d, at(first, i), `axis ${i}`);
			});
			total += num(at(shape, axis));
		}
		return replaced(first, axis, total);
	},
	pad([x], { axis, before, after }) {
		return replaced(x, axis, num(at(x, axis)) + before + after);
	},
	broadcast([x], { shape }) {
		const out = broadcastShapes(x ?? [], shape);
		if (out.length !== shape.length || out.some((d, i) => d !== shape[i])) throw new Misfit(`not to (${shape.join(', ')})`);
		return shape;
	},
	sum: reduced,
	amax: reduced,
	gather([table, indices]) {
		return [...(indices ?? []), at(table, 1)];
	},
	oneHot([indices], { depth }) {
		return [...(indices ?? []), depth];
	},
	stopGradient: same,
	after: same,
	linear([x, w, bias]) {
		const [out, inn] = [at(w, 0), at(w, 1)];
		equal(at(x, (x?.length ?? 0) - 1), inn, 'features');
		if (bias !== undefined) equal(at(bias, 0), out, 'bias');
		return [...(x ?? []).slice(0, -1), out];
	},
	lowRank([base, x, down, up]) {
		equal(at(x, (x?.length ?? 0) - 1), at(down, 1), 'features of down');
		equal(at(base, (base?.length ?? 0) - 1), at(up, 0), 'features of up');
		equal(at(down, 0), at(up, 1), 'rank');
		return base ?? [];
	},
	lowRankConv([base, x, down, up]) {
		equal(at(x, 1), at(down, 1), 'channels of down');
		equal(at(base, 1), at(up, 0), 'channels of up');
		equal(at(down, 0), at(up, 1), 'rank');
		return base ?? [];
	},
	silu: same,
	gelu: same,
	quickGelu: same,
	softmax: same,
	layerNorm([x, weight, bias]) {
		for (const part of [weight, bias]) equal(at(part, 0), at(x, (x?.length ?? 0) - 1), 'features');
		return x ?? [];
	},
	groupNorm([x, weight, bias], { groups }) {
		const channels = num(at(x, 1));
		for (const part of [weight, bias]) equal(at(part, 0), channels, 'channels');
		if (channels % groups !== 0) throw new Misfit(`${channels} channels are not ${groups} equal groups`);
		return x ?? [];
	},
	attention([q, k, v], { heads }) {
		const width = num(at(q, 2));
		equal(at(k, 2), width, 'width of keys');
		equal(at(v, 2), width, 'width of values');
		equal(at(k, 1), at(v, 1), 'keys and values');
		for (const part of [k, v]) equal(at(part, 0), at(q, 0), 'batch');
		if (width % heads !== 0) throw new Misfit(`width ${width} is not ${heads} equal heads`);
		return q ?? [];
	},
	upsampleNearest([x], { height, width }) {
		const [b, c, h, w] = four(x);
		for (const [size, to] of [
			[num(h), height],
			[num(w), width],
		] as const) {
			if (to !== 2 * size && to !== 2 * size - 1) throw new Misfit(`${size} does not become ${to} by doubling`);
		}
		return [b, c, height, width];
	},
};

function every<K extends string>(names: readonly K[], rule: (shapes: readonly Shape[]) => Shape): Record<K, typeof rule> {
	return Object.fromEntries(names.map((name) => [name, rule])) as Record<K, typeof rule>;
}

/** Sizes of a convolution's output. */
export function convSize(
	height: number,
	width: number,
	kh: number,
	kw: number,
	{ stride, padding, dilation }: ConvAttributes,
): [number, number] {
	const [top, bottom, left, right] = padding;
	const size = (from: number, kernel: number, by: number, spread: number): number =>
		Math.floor((from - (spread * (kernel - 1) + 1)) / by) + 1;
	return [size(height + top + bottom, kh, stride[0], dilation[0]), size(width + left + right, kw, stride[1], dilation[1])];
}

/** NumPy's rule: aligned at the end, 1 stretches. @throws when they do not fit. */
export function broadcastShapes(a: Shape, b: Shape): Shape {
	const length = Math.max(a.length, b.length);
	return Array.from({ length }, (_, i) => {
		const [x, y] = [a[i - length + a.length] ?? 1, b[i - length + b.length] ?? 1];
		if (x !== y && x !== 1 && y !== 1) throw new Misfit(`${x} and ${y} do not broadcast`);
		return x === 1 ? y : x;
	});
}

function same([x]: readonly Shape[]): Shape {
	return x ?? [];
}

function broadcastAll(shapes: readonly Shape[]): Shape {
	return shapes.reduce((a, b) => broadcastShapes(a, b));
}

function reduced([x]: readonly Shape[], { axes }: { readonly axes: readonly number[] }): Shape {
	return (x ?? []).map((d, i) => (axes.includes(i) ? 1 : d));
}

function lastTwo(shape: Shape | undefined, swapped: boolean): [Dim, Dim] {
	const n = shape?.length ?? 0;
	const [rows, columns] = [at(shape, n - 2), at(shape, n - 1)];
	return swapped ? [columns, rows] : [rows, columns];
}

function leading(shape: Shape | undefined): Shape {
	return (shape ?? []).slice(0, -2);
}

function four(shape: Shape | undefined): [Dim, Dim, Dim, Dim] {
	if (shape?.length !== 4) throw new Misfit(`${shape?.length ?? 0} axes instead of 4`);
	return [at(shape, 0), at(shape, 1), at(shape, 2), at(shape, 3)];
}

function at(shape: Shape | undefined, axis: number): Dim {
	const d = shape?.[axis];
	if (d === undefined) throw new Misfit(`no axis ${axis}`);
	return d;
}

function num(d: Dim): number {
	if (typeof d === 'string') throw new Misfit(`${d} is not known here`);
	return d;
}

function equal(a: Dim, b: Dim, what: string): void {
	if (a !== b) throw new Misfit(`${what} differ, ${a} and ${b}`);
}

function replaced(shape: Shape | undefined, axis: number, size: Dim): Shape {
	return (shape ?? []).map((d, i) => (i === axis ? size : d));
}

function known(shape: Shape): { readonly product: number; readonly names: string } {
	const names = shape.filter((d) => typeof d === 'string');
	return { product: shape.reduce<number>((p, d) => (typeof d === 'number' ? p * d : p), 1), names: names.sort().join() };
}
