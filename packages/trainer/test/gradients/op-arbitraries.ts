import type { BinaryName, ConvAttributes, Dim, OpName, Pair, UnaryName } from '@lorakit/runtime';
import { convSize, UNARY } from '@lorakit/runtime';
import fc from 'fast-check';
import type { Draw, OpCase } from './support.js';

const UNIT: Draw = { from: -1, to: 1 };
const POSITIVE: Draw = { from: 0.5, to: 2 };

/** Random operands and attributes for every operation of the table. */
export const OP_ARBITRARIES: { readonly [K in OpName]: fc.Arbitrary<OpCase<K>> } = {
	...(Object.fromEntries(UNARY.map((op) => [op, unary(op)])) as { readonly [K in UnaryName]: fc.Arbitrary<OpCase<K>> }),
	add: binary('add', UNIT),
	sub: binary('sub', UNIT),
	mul: binary('mul', UNIT),
	div: binary('div', UNIT, POSITIVE),
	maximum: binary('maximum', 'apart'),
	greater: binary('greater', 'apart'),
	matmul: fc
		.record({ sizes: fc.tuple(size(), size(), size()), a: fc.boolean(), b: fc.boolean(), lead: broadcastPair(2), seed: seed() })
		.map(({ sizes: [m, k, n], a, b, lead: [left, right], seed }) => ({
			op: 'matmul',
			shapes: [
				[...left, ...(a ? [k, m] : [m, k])],
				[...right, ...(b ? [n, k] : [k, n])],
			],
			attributes: { transposeA: a, transposeB: b },
			draw: [UNIT],
			seed,
		})),
	conv2d: fc
		.record({ conv: convolution(), out: size(), batch: size(2), bias: fc.boolean(), seed: seed() })
		.map(({ conv: { channels, from, kernel, attributes }, out, batch, bias, seed }) => ({
			op: 'conv2d',
			shapes: [[batch, channels, ...from], [out, channels, ...kernel], ...(bias ? [[out]] : [])],
			attributes,
			draw: [UNIT],
			seed,
		})),
	convTranspose2d: fc
		.record({ conv: convolution(), out: size(), batch: size(2), seed: seed() })
		.map(({ conv: { channels, from, kernel, attributes }, out, batch, seed }) => ({
			op: 'convTranspose2d',
			shapes: [
				[batch, out, ...convSize(...from, ...kernel, attributes)],
				[out, channels, ...kernel],
			],
			attributes: { ...attributes, size: from },
			draw: [UNIT],
			seed,
		})),
	reshape: fc
		.record({ shape: shape(4), seed: seed(), pick: fc.nat(), named: fc.boolean() })
		.map(({ shape, seed, pick, named }): OpCase<'reshape'> => {
			const count = shape.reduce((a, b) => a * b, 1);
			const divisors = Array.from({ length: count }, (_, i) => i + 1).filter((d) => count % d === 0);
			const d = divisors[pick % divisors.length] ?? 1;
			// An axis whose size has only a name goes along.
			const by = (list: readonly Dim[]): readonly Dim[] => (named ? ['r', ...list] : list);
			return { op: 'reshape', shapes: [by(shape)], attributes: { shape: by([d, count / d]) }, draw: [UNIT], sizes: { r: 2 }, seed };
		}),
	transpose: fc.record({ shape: shape(4), seed: seed() }).chain(({ shape, seed }) =>
		fc.shuffledSubarray(axesOf(shape), { minLength: shape.length }).map((permutation) => ({
			op: 'transpose',
			shapes: [shape],
			attributes: { permutation },
			draw: [UNIT],
			seed,
		})),
	),
	slice: fc
		.record({ shape: shape(3, 5, 1), axis: fc.nat(), cut: fc.tuple(fc.nat(), fc.nat()), seed: seed() })
		.map(({ shape, axis: pick, cut, seed }) => {
			const axis = pick % shape.length;
			const [start = 0, end = 0] = cut.map((n) => n % ((shape[axis] ?? 0) + 1)).sort((a, b) => a - b);
			return { op: 'slice', shapes: [shape], attributes: { axis, start, end }, draw: [UNIT], seed };
		}),
	concat: fc
		.record({
			shape: shape(3, 3, 1),
			axis: fc.nat(),
			parts: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 1, maxLength: 4 }),
			seed: seed(),
		})
		.filter(({ parts }) => parts.some((n) => n > 0))
		.map(({ shape, axis: pick, parts, seed }) => {
			const axis = pick % shape.length;
			return {
				op: 'concat',
				shapes: parts.map((n) => shape.map((d, i) => (i === axis ? n : d))),
				attributes: { axis },
				draw: [UNIT],
				seed,
			};
		}),
	pad: fc
		.record({ shape: shape(3, 3, 1), axis: fc.nat(), before: fc.nat(2), after: fc.nat(2), seed: seed() })
		.map(({ shape, axis, before, after, seed }) => ({
			op: 'pad',
			shapes: [shape],
			attributes: { axis: axis % shape.length, before, after },
			draw: [UNIT],
			seed,
		})),
	broadcast: fc
		.record({ shape: shape(4), own: fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }), drop: fc.nat(4), seed: seed() })
		.map((r) => ({
			op: 'broadcast',
			shapes: [r.shape.map((d, i) => (r.own[i] === true ? d : 1)).slice(Math.min(r.drop, r.shape.length))],
			attributes: { shape: r.shape },
			draw: [UNIT],
			seed: r.seed,
		})),
	sum: reduction('sum', UNIT),
	amax: reduction('amax', 'apart'),
	gather: fc
		.record({ table: fc.tuple(size(6), size()), indices: shape(2), seed: seed() })
		.map(({ table, indices, seed }) => ({ op: 'gather', shapes: [table, indices], attributes: {}, draw: [UNIT, { ids: table[0] }], seed })),
	oneHot: fc
		.record({ indices: shape(2), depth: size(6), seed: seed() })
		.map(({ indices, depth, seed }) => ({ op: 'oneHot', shapes: [indices], attributes: { depth }, draw: [{ ids: depth }], seed })),
	stopGradient: fc
		.record({ shape: shape(3), seed: seed() })
		.map(({ shape, seed }) => ({ op: 'stopGradient', shapes: [shape], attributes: {}, draw: [UNIT], seed })),
	after: fc
		.record({ shape: shape(3), other: shape(2), seed: seed() })
		.map(({ shape, other, seed }) => ({ op: 'after', shapes: [shape, other], attributes: {}, draw: [UNIT], seed })),
	linear: fc
		.record({ lead: shape(2, 3, 1), inn: size(), out: size(), bias: fc.boolean(), seed: seed() })
		.map(({ lead, inn, out, bias, seed }) => ({
			op: 'linear',
			shapes: [[...lead, inn], [out, inn], ...(bias ? [[out]] : [])],
			attributes: {},
			draw: [UNIT],
			seed,
		})),
	lowRank: fc
		.record({ lead: shape(2, 3, 1), inn: size(), out: size(), rank: fc.nat(3), seed: seed() })
		.map(({ lead, inn, out, rank, seed }) => ({
			op: 'lowRank',
			shapes: [
				[...lead, out],
				[...lead, inn],
				['r', inn],
				[out, 'r'],
			],
			attributes: {},
			draw: [UNIT],
			sizes: { r: rank },
			seed,
		})),
	lowRankConv: fc
		.record({ conv: convolution(), out: size(), batch: size(2), rank: fc.nat(3), seed: seed() })
		.map(({ conv: { channels, from, kernel, attributes }, out, batch, rank, seed }) => ({
			op: 'lowRankConv',
			shapes: [
				[batch, out, ...convSize(...from, ...kernel, attributes)],
				[batch, channels, ...from],
				['r', channels, ...kernel],
				[out, 'r', 1, 1],
			],
			attributes,
			draw: [UNIT],
			sizes: { r: rank },
			seed,
		})),
	silu: unary('silu'),
	gelu: unary('gelu'),
	quickGelu: unary('quickGelu'),
	softmax: fc
		.record({ shape: shape(3, 4, 1), seed: seed() })
		.map(({ shape, seed }) => ({ op: 'softmax', shapes: [shape], attributes: {}, draw: [{ from: -2, to: 2 }], seed })),
	layerNorm: fc.record({ lead: shape(2, 3, 1), width: fc.integer({ min: 3, max: 6 }), seed: seed() }).map(({ lead, width, seed }) => ({
		op: 'layerNorm',
		shapes: [[...lead, width], [width], [width]],
		attributes: { epsilon: 1e-2 },
		draw: [UNIT],
		seed,
	})),
	groupNorm: fc
		.record({
			batch: size(2),
			groups: size(3),
			each: size(2),
			rest: fc.array(fc.integer({ min: 2, max: 3 }), { minLength: 1, maxLength: 2 }),
			seed: seed(),
		})
		.map(({ batch, groups, each, rest, seed }) => ({
			op: 'groupNorm',
			shapes: [[batch, groups * each, ...rest], [groups * each], [groups * each]],
			attributes: { groups, epsilon: 1e-2 },
			draw: [UNIT],
			seed,
		})),
	attention: fc
		.record({
			sizes: fc.tuple(size(2), fc.integer({ min: 1, max: 5 }), fc.integer({ min: 1, max: 5 })),
			heads: size(3),
			width: size(3),
			causal: fc.boolean(),
			slices: size(3),
			seed: seed(),
		})
		.map(({ sizes: [batch, rows, columns], heads, width, causal, slices, seed }) => ({
			op: 'attention',
			// A causal one attends to itself.
			shapes: [rows, ...(causal ? [rows, rows] : [columns, columns])].map((n) => [batch, n, heads * width]),
			attributes: { heads, scale: 0.7, causal, slices },
			draw: [UNIT],
			seed,
		})),
	upsampleNearest: fc
		.record({ from: fc.tuple(size(2), size(2), size(3), size(3)), odd: fc.tuple(fc.boolean(), fc.boolean()), seed: seed() })
		.map(({ from, odd, seed }) => ({
			op: 'upsampleNearest',
			shapes: [from],
			attributes: { height: 2 * from[2] - (odd[0] ? 1 : 0), width: 2 * from[3] - (odd[1] ? 1 : 0) },
			draw: [UNIT],
			seed,
		})),
};

function seed(): fc.Arbitrary<number> {
	return fc.nat(2 ** 31);
}

function size(max = 4): fc.Arbitrary<number> {
	return fc.integer({ min: 1, max });
}

/** @param max of one axis */
function shape(maxRank: number, max = 3, minRank = 0): fc.Arbitrary<number[]> {
	return fc.array(size(max), { minLength: minRank, maxLength: maxRank });
}

function axesOf(shape: readonly number[]): number[] {
	return shape.map((_, i) => i);
}

function unary<K extends UnaryName | 'silu' | 'gelu' | 'quickGelu'>(op: K): fc.Arbitrary<OpCase<K>> {
	const draws: Partial<Record<string, Draw>> = { log: POSITIVE, sqrt: POSITIVE, abs: 'apart', sign: 'apart' };
	return fc
		.record({ shape: shape(3), seed: seed() })
		.map(
			({ shape, seed }) =>
				({ op, shapes: [shape], attributes: {}, draw: [draws[op] ?? { from: -2, to: 2 }], seed }) as unknown as OpCase<K>,
		);
}

function binary<K extends BinaryName>(op: K, ...draw: readonly Draw[]): fc.Arbitrary<OpCase<K>> {
	return fc.record({ shapes: broadcastPair(3), named: fc.boolean(), seed: seed() }).map(
		({ shapes, named, seed }) =>
			({
				op,
				// An axis of both whose size has only a name.
				shapes: named ? padded(shapes).map((s) => ['r', ...s]) : shapes,
				attributes: {},
				draw,
				sizes: { r: 2 },
				seed,
			}) as unknown as OpCase<K>,
	);
}

/** With as many axes each. */
function padded(shapes: readonly (readonly number[])[]): readonly (readonly number[])[] {
	const rank = Math.max(...shapes.map((s) => s.length));
	return shapes.map((s) => [...new Array<number>(rank - s.length).fill(1), ...s]);
}

/** Two shapes that broadcast against each other: either may have fewer axes, and 1 where the other has more. */
function broadcastPair(maxRank: number): fc.Arbitrary<[number[], number[]]> {
	return fc
		.record({
			shape: shape(maxRank),
			one: fc.array(fc.nat(3), { minLength: maxRank, maxLength: maxRank }),
			drop: fc.nat(maxRank),
			swap: fc.boolean(),
		})
		.map(({ shape, one, drop, swap }) => {
			const left = shape.map((d, i) => (one[i] === 0 ? 1 : d));
			const right = shape.map((d, i) => (one[i] === 1 ? 1 : d)).slice(Math.min(drop, shape.length));
			return swap ? [right, left] : [left, right];
		});
}

function reduction<K extends 'sum' | 'amax'>(op: K, draw: Draw): fc.Arbitrary<OpCase<K>> {
	return fc
		.record({ shape: shape(4), seed: seed() })
		.chain(({ shape, seed }) =>
			fc.subarray(axesOf(shape)).map((axes) => ({ op, shapes: [shape], attributes: { axes }, draw: [draw], seed }) as unknown as OpCase<K>),
		);
}

interface Convolution {
	readonly channels: number;
	readonly from: Pair;
	readonly kernel: Pair;
	readonly attributes: ConvAttributes;
}

/** Any kernel, stride, padding and dilation by which at least one place of the picture is met. */
function convolution(): fc.Arbitrary<Convolution> {
	const pair = (max: number): fc.Arbitrary<[number, number]> => fc.tuple(size(max), size(max));
	return fc
		.record({
			channels: size(3),
			from: pair(6),
			kernel: pair(3),
			stride: pair(3),
			dilation: pair(2),
			padding: fc.tuple(fc.nat(2), fc.nat(2), fc.nat(2), fc.nat(2)),
		})
		.map(({ channels, from, kernel, stride, dilation, padding }) => ({ channels, from, kernel, attributes: { stride, dilation, padding } }))
		.filter(({ from, kernel, attributes }) => convSize(...from, ...kernel, attributes).every((n) => n >= 1));
}
