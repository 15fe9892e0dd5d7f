import {
	BINARY,
	convSize,
	countOf,
	createGraphBuilder,
	type GraphBuilder,
	type HostTensor,
	isComposite,
	type OpName,
	UNARY,
	type Value,
} from '@lorakit/runtime';
import fc from 'fast-check';
import { generator, type Recorded, random, randomIds } from './support.js';

/** One step of a random graph: which operation, and numbers that choose its operands and attributes. */
export interface Instruction {
	readonly op: OpName;
	readonly picks: readonly number[];
}

export interface RandomGraph extends Recorded {
	readonly weights: Readonly<Record<string, HostTensor>>;
	/** Inputs that the loss depends on nowhere, or only where no gradient flows. */
	readonly blocked: readonly string[];
	/** Operations that are in it, without those that keep numbers small. */
	readonly ops: readonly OpName[];
}

const ALL: readonly OpName[] = [
	...UNARY,
	...BINARY,
	...([
		'matmul',
		'conv2d',
		'convTranspose2d',
		'reshape',
		'transpose',
		'slice',
		'concat',
		'pad',
		'broadcast',
		'sum',
		'amax',
		'gather',
		'oneHot',
	] as const),
	...([
		'stopGradient',
		'after',
		'linear',
		'lowRank',
		'lowRankConv',
		'silu',
		'gelu',
		'quickGelu',
		'softmax',
		'layerNorm',
		'groupNorm',
	] as const),
	...(['attention', 'upsampleNearest'] as const),
];

/** Most elements of a value. */
const MOST = 300;

export const RANDOM_GRAPHS: fc.Arbitrary<RandomGraph> = fc
	.record({
		seed: fc.nat(2 ** 31),
		steps: fc.array(fc.record({ op: fc.constantFrom(...ALL), picks: fc.array(fc.nat(2 ** 16), { minLength: 8, maxLength: 8 }) }), {
			minLength: 1,
			maxLength: 16,
		}),
	})
	.map(({ seed, steps }) => randomGraph(seed, steps));

/**
 * Operations on one another's results, on new inputs and on weights. Results are drawn into -1 to 1 and kept away from
 * kinks, so that single precision is near double. The loss takes every value in that no other took.
 */
export function randomGraph(seed: number, steps: readonly Instruction[]): RandomGraph {
	const maker = createMaker(seed);
	const { b, values } = maker;
	maker.operand([2, 3, 4], 0);
	maker.operand([2, 4, 3, 3], 0);
	maker.operand([3, 4], 0);
	const applied: OpName[] = [];
	for (const { op, picks } of steps) {
		const made = step(maker, op, picks);
		if (made === undefined || countOf(made.shape.map(Number)) > MOST) continue;
		applied.push(op);
		// Not a second function over one that is flat, or that moves elements only.
		const grows = !['tanh', 'sigmoid', 'softmax', 'reshape', 'transpose', 'slice', 'pad', 'broadcast', 'stopGradient', 'after'].includes(
			op,
		);
		values.push(grows ? b.apply('tanh', [made], {}) : made);
	}
	maker.wrt.push('unused', 'blocked');
	maker.feeds['unused'] = random([2, 2], seed + 1);
	b.input('unused', [2, 2]);
	maker.feeds['blocked'] = random([2, 2], seed + 2);
	const blocked = b.apply('exp', [b.apply('stopGradient', [b.input('blocked', [2, 2])], {})], {});
	values.push(b.apply('sign', [blocked], {}), blocked);
	const used = new Set(b.graph().nodes.flatMap(({ inputs }) => inputs));
	const terms = values
		.filter(({ id }) => !used.has(id))
		.map((value, i) => maker.total(b.apply('mul', [value, b.constant(random(value.shape.map(Number), seed + 100 + i, 0.2, 1))], {})));
	const loss = terms.reduce((sum, term) => b.apply('add', [sum, term], {}));
	b.output('loss', loss);
	for (const [i, value] of values.slice(0, 2).entries()) b.output(`value${i}`, value);
	return { graph: b.graph(), feeds: maker.feeds, wrt: maker.wrt, weights: maker.weights, blocked: ['unused', 'blocked'], ops: applied };
}

interface Maker {
	readonly b: GraphBuilder;
	readonly values: Value[];
	readonly feeds: Record<string, HostTensor>;
	readonly weights: Record<string, HostTensor>;
	readonly wrt: string[];
	/** Something of that shape: a value that is there, a new wanted input, a frozen input, or a weight. */
	operand(shape: readonly number[], pick: number): Value;
	/** Whole numbers below `count`, fed. */
	ids(shape: readonly number[], count: number): Value;
	total(value: Value): Value;
}

function createMaker(seed: number): Maker {
	const b = createGraphBuilder();
	const [values, wrt]: [Value[], string[]] = [[], []];
	const [feeds, weights]: [Record<string, HostTensor>, Record<string, HostTensor>] = [{}, {}];
	let count = 0;
	const next = (shape: readonly number[]): HostTensor => random(shape, seed + 7 * ++count);
	return {
		b,
		values,
		feeds,
		weights,
		wrt,
		operand(shape, pick) {
			const like = values.filter((v) => v.shape.length === shape.length && v.shape.every((d, i) => d === shape[i]));
			const chosen = like[pick % Math.max(1, like.length)];
			if (chosen !== undefined && pick % 3 > 0) return chosen;
			const tensor = next(shape);
			const name = `${['input', 'frozen', 'weight'][(pick >> 3) % 3] ?? ''}${count}`;
			let made: Value;
			if (name.startsWith('weight')) {
				weights[name] = tensor;
				made = b.parameter(name, shape);
			} else {
				feeds[name] = tensor;
				made = b.input(name, shape);
				if (name.startsWith('input')) wrt.push(name);
			}
			values.push(made);
			return made;
		},
		ids(shape, below) {
			const name = `ids${++count}`;
			feeds[name] = randomIds(shape, seed + 7 * count, below);
			return b.input(name, shape, 'i32');
		},
		total: (value) => b.apply('reshape', [b.apply('sum', [value], { axes: value.shape.map((_, i) => i) })], { shape: [] }),
	};
}

/** undefined: nothing that is there fits. */
function step(maker: Maker, op: OpName, picks: readonly number[]): Value | undefined {
	const { b, values } = maker;
	const at = (i: number): number => picks[i] ?? 0;
	const within = (i: number, low: number, high: number): number => low + (at(i) % (high - low + 1));
	const ofRank = (low: number, high = 9): Value | undefined => {
		const fit = values.filter(({ shape }) => shape.length >= low && shape.length <= high);
		return fit[at(0) % Math.max(1, fit.length)];
	};
	const sizes = (v: Value): number[] => v.shape.map(Number);
	const x = op === 'attention' ? ofRank(3, 3) : ofRank(RANKS[op]?.[0] ?? 0, RANKS[op]?.[1] ?? 6);
	if (x === undefined) return undefined;
	const shape = sizes(x);
	const rank = shape.length;
	const axis = rank === 0 ? 0 : at(1) % rank;
	const constant = (of: readonly number[], data: (i: number) => number): Value =>
		b.constant({ dtype: 'f32', shape: of, data: Float32Array.from({ length: countOf(of) }, (_, i) => data(i)) });
	const signs = generator(at(2));
	/** A constant that keeps what is added to it on one side of a kink, differently from element to element. */
	const aside = (by: number): Value => constant(shape, () => (signs() < 0.5 ? -by : by));
	const tanh = (v: Value): Value => b.apply('tanh', [v], {});
	const add = (v: Value, w: Value): Value => b.apply('add', [v, w], {});
	const positive = (v: Value): Value =>
		add(
			b.apply('mul', [v, v], {}),
			constant([], () => 0.5),
		);
	const other = (): Value => {
		const [drop, one] = [at(3) % (rank + 1), at(4) % (rank + 1)];
		return maker.operand(shape.map((d, i) => (i === one ? 1 : d)).slice(at(5) % 2 === 0 ? 0 : drop), at(6));
	};
	const conv = () => ({
		stride: [within(1, 1, 2), within(2, 1, 2)] as const,
		padding: [within(3, 0, 1), within(4, 0, 1), within(5, 0, 1), within(6, 0, 2)] as const,
		dilation: [within(7, 1, 2), 1] as const,
	});
	const kernel = [within(2, 1, 3), within(4, 1, 3)] as const;

	switch (op) {
		case 'log':
		case 'sqrt':
			return b.apply(op, [positive(x)], {});
		case 'abs':
		case 'sign':
			return b.apply(op, [add(tanh(x), aside(2))], {});
		case 'add':
		case 'sub':
		case 'mul':
			return b.apply(op, at(7) % 2 === 0 ? [x, other()] : [other(), x], {});
		case 'div':
			return b.apply('div', [x, positive(other())], {});
		case 'maximum':
		case 'greater':
			return b.apply(op, [tanh(x), add(tanh(other()), aside(3))], {});
		case 'matmul': {
			const [m, k] = [shape[rank - 2] ?? 1, shape[rank - 1] ?? 1];
			const [transposeA, transposeB] = [at(1) % 2 === 0, at(2) % 2 === 0];
			const inner = transposeA ? m : k;
			const n = within(3, 1, 3);
			const lead = at(4) % 2 === 0 ? [] : shape.slice(0, -2);
			const second = at(5) % 4 === 0 ? x : maker.operand([...lead, ...(transposeB ? [n, inner] : [inner, n])], at(6));
			// With itself: a a^T or a^T a.
			if (second === x) return b.apply('matmul', [x, x], { transposeA, transposeB: !transposeA });
			return b.apply('matmul', [x, second], { transposeA, transposeB });
		}
		case 'conv2d': {
			const attributes = conv();
			const [, c = 1, h = 1, w = 1] = shape;
			if (convSize(h, w, ...kernel, attributes).some((n) => n < 1)) return undefined;
			const out = within(1, 1, 3);
			return b.apply(
				op,
				[x, maker.operand([out, c, ...kernel], at(6)), ...(at(7) % 2 === 0 ? [maker.operand([out], at(5))] : [])],
				attributes,
			);
		}
		case 'convTranspose2d': {
			const attributes = conv();
			const [, c = 1, h = 1, w = 1] = shape;
			// Any size by which a convolution would come back.
			const size = [5, 6, 7, 4, 3, 2, 1]
				.flatMap((a) => [4, 5, 6, 7, 3, 2, 1].map((d) => [a, d] as const))
				.find(([a, d]) => {
					const [y, z] = convSize(a, d, ...kernel, attributes);
					return y === h && z === w;
				});
			return size === undefined
				? undefined
				: b.apply(op, [x, maker.operand([c, within(1, 1, 3), ...kernel], at(6))], { ...attributes, size });
		}
		case 'lowRankConv': {
			const attributes = conv();
			const [n = 1, c = 1, h = 1, w = 1] = shape;
			const size = convSize(h, w, ...kernel, attributes);
			if (size.some((s) => s < 1)) return undefined;
			const [out, r] = [within(1, 1, 3), within(3, 1, 2)];
			const factors = [maker.operand([r, c, ...kernel], at(5)), maker.operand([out, r, 1, 1], at(6))];
			return b.apply(op, [maker.operand([n, out, ...size], at(7)), x, ...factors], attributes);
		}
		case 'reshape': {
			const count = countOf(shape);
			const d = [1, 2, 3, 4, 6].filter((n) => count % n === 0).at(at(2) % 3) ?? 1;
			const rest = count / d;
			return b.apply(op, [x], {
				shape: [
					[d, rest],
					[1, d, rest],
					[rest, d, 1],
					[1, d, 1, rest],
				][at(3) % 4] ?? [count],
			});
		}
		case 'transpose': {
			const permutation = shape.map((_, i) => (i + at(2)) % rank);
			return b.apply(op, [x], { permutation: at(3) % 2 === 0 ? permutation : permutation.toReversed() });
		}
		case 'slice': {
			const start = at(2) % (shape[axis] ?? 1);
			return b.apply(op, [x], { axis, start, end: start + 1 + (at(3) % ((shape[axis] ?? 1) - start)) });
		}
		case 'concat': {
			const second = maker.operand(
				shape.map((d, i) => (i === axis ? within(2, 1, 2) : d)),
				at(6),
			);
			return b.apply(
				op,
				[
					[x, second],
					[second, x, second],
					[x, x],
				][at(3) % 3] ?? [x],
				{ axis },
			);
		}
		case 'pad':
			return b.apply(op, [x], { axis, before: within(2, 0, 2), after: within(3, 0, 2) });
		case 'broadcast':
			return b.apply(op, [x], { shape: [within(2, 1, 2), ...shape.map((d) => (d === 1 ? within(3, 1, 3) : d))] });
		case 'sum':
			return b.apply(op, [x], { axes: shape.flatMap((_, i) => ((at(2) >> i) % 2 === 0 ? [i] : [])) });
		case 'amax': {
			// Each element in a band of its own.
			const bands = add(
				tanh(x),
				constant(shape, (i) => 3 * ((i * 7 + at(3)) % 11) + 40 * (i % 2) + 100 * i),
			);
			const scaled = b.apply('mul', [bands, constant([], () => 0.01)], {});
			return b.apply(op, [scaled], { axes: shape.flatMap((_, i) => ((at(2) >> i) % 2 === 0 ? [i] : [])) });
		}
		case 'gather':
			return b.apply(op, [x, maker.ids([within(2, 1, 3), 2], shape[0] ?? 1)], {});
		case 'oneHot': {
			const depth = shape[rank - 1] ?? 1;
			const hot = b.apply(op, [maker.ids([within(2, 1, 3)], depth)], { depth });
			return b.apply('matmul', [hot, x], { transposeA: false, transposeB: true });
		}
		case 'after':
			return b.apply(op, [x, other()], {});
		case 'linear': {
			const out = within(1, 1, 4);
			const bias = at(2) % 2 === 0 ? [maker.operand([out], at(5))] : [];
			return b.apply(op, [x, maker.operand([out, shape[rank - 1] ?? 1], at(6)), ...bias], {});
		}
		case 'lowRank': {
			const [out, r, inn] = [within(1, 1, 4), within(2, 1, 3), shape[rank - 1] ?? 1];
			const factors = [maker.operand([r, inn], at(5)), maker.operand([out, r], at(6))];
			return b.apply(op, [maker.operand([...shape.slice(0, -1), out], at(7)), x, ...factors], {});
		}
		case 'layerNorm': {
			const c = shape[rank - 1] ?? 1;
			return b.apply(op, [x, maker.operand([c], at(5)), maker.operand([c], at(6))], { epsilon: 0.1 });
		}
		case 'groupNorm': {
			const c = shape[1] ?? 1;
			return b.apply(op, [x, maker.operand([c], at(5)), maker.operand([c], at(6))], { groups: c % 2 === 0 ? 2 : 1, epsilon: 0.1 });
		}
		case 'attention': {
			const [n = 1, rows = 1, width = 1] = shape;
			const causal = at(1) % 2 === 0;
			const keys = [n, causal ? rows : within(2, 1, 4), width];
			const heads = width % 2 === 0 ? 2 : 1;
			return b.apply(op, [x, maker.operand(keys, at(5)), maker.operand(keys, at(6))], {
				heads,
				scale: 0.8,
				causal,
				slices: within(3, 1, 3),
			});
		}
		case 'upsampleNearest':
			return b.apply(op, [x], { height: 2 * (shape[2] ?? 1) - within(1, 0, 1), width: 2 * (shape[3] ?? 1) - within(2, 0, 1) });
		default:
			// Functions of one operand without attributes.
			if (isComposite(op) || (UNARY as readonly string[]).includes(op) || op === 'stopGradient') return b.apply(op, [x], {} as never);
			throw new TypeError(`no step for ${op}`);
	}
}

/** How many axes the operand that is picked has. */
const RANKS: Partial<Record<OpName, readonly [number, number]>> = {
	matmul: [2, 4],
	conv2d: [4, 4],
	convTranspose2d: [4, 4],
	lowRankConv: [4, 4],
	groupNorm: [3, 4],
	upsampleNearest: [4, 4],
	transpose: [1, 5],
	slice: [1, 6],
	concat: [1, 5],
	pad: [1, 4],
	broadcast: [0, 4],
	sum: [0, 5],
	amax: [1, 5],
	gather: [2, 2],
	oneHot: [2, 2],
	linear: [2, 4],
	lowRank: [2, 4],
	layerNorm: [2, 4],
	softmax: [1, 4],
};
