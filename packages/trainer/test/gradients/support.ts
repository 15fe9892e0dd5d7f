import {
	countOf,
	createGraphBuilder,
	type Dim,
	type Graph,
	type HostTensor,
	type OpAttributes,
	type OpName,
	type ParameterSource,
	type Session,
	type Value,
} from '@lorakit/runtime';
import { memoryWeights } from '../../../runtime/test/engines/engine-contract.js';

/** Uniform numbers from a seed (mulberry32), in float32 so that every engine is fed the same. */
export function random(shape: readonly number[], seed: number, low = -1, high = 1): HostTensor {
	const next = generator(seed);
	return { dtype: 'f32', shape, data: Float32Array.from({ length: countOf(shape) }, () => low + (high - low) * next()) };
}

/** Whole numbers below `count`. */
export function randomIds(shape: readonly number[], seed: number, count: number): HostTensor {
	const next = generator(seed);
	return { dtype: 'i32', shape, data: Int32Array.from({ length: countOf(shape) }, () => Math.floor(next() * count)) };
}

export function generator(seed: number): () => number {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let t = state;
		t = Math.imul(t ^ (t >>> 15), t | 1);
		t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
		return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
	};
}

export { memoryWeights };
export const NO_WEIGHTS: ParameterSource = memoryWeights({});

/** How the elements of an operand are drawn. */
export type Draw =
	| { readonly from: number; readonly to: number }
	/** Whole numbers. */
	| { readonly ids: number }
	/** No two of all operands are nearer than 0.02, and none to 0: away from every kink. */
	| 'apart';

/** An operation on operands of given shapes. */
export interface OpCase<K extends OpName = OpName> {
	readonly op: K;
	readonly shapes: readonly (readonly Dim[])[];
	readonly attributes: OpAttributes<K>;
	/** One for each operand; the last stands for the rest. */
	readonly draw: readonly Draw[];
	/** Sizes of names. */
	readonly sizes?: Readonly<Record<string, number>> | undefined;
	readonly seed: number;
}

export interface Recorded {
	readonly graph: Graph;
	readonly feeds: Readonly<Record<string, HostTensor>>;
	/** Inputs that have a gradient. */
	readonly wrt: readonly string[];
}

/** One operation, its result weighted with fixed numbers and summed: one `loss` of all operands `x0`, `x1`, ... */
export function recordOp({ op, shapes, attributes, draw, sizes = {}, seed }: OpCase): Recorded {
	const b = createGraphBuilder();
	const feeds: Record<string, HostTensor> = {};
	const wrt: string[] = [];
	const concrete = (shape: readonly Dim[]): number[] => shape.map((d) => (typeof d === 'number' ? d : (sizes[d] ?? 0)));
	const total = shapes.reduce((sum, shape) => sum + countOf(concrete(shape)), 0);
	const grid = shuffled(total, seed);
	let taken = 0;
	const operands = shapes.map((shape, i): Value => {
		const name = `x${i}`;
		const kind = draw[Math.min(i, draw.length - 1)] ?? 'apart';
		const own = concrete(shape);
		if (typeof kind === 'object' && 'ids' in kind) {
			feeds[name] = randomIds(own, seed + 31 * i, kind.ids);
			return b.input(name, shape, 'i32');
		}
		if (kind === 'apart') {
			const count = countOf(own);
			feeds[name] = { dtype: 'f32', shape: own, data: grid.slice(taken, taken + count) };
			taken += count;
		} else feeds[name] = random(own, seed + 31 * i, kind.from, kind.to);
		wrt.push(name);
		return b.input(name, shape);
	});
	const y = b.apply(op, operands, attributes);
	// Where a size of the result has only a name the weights are fed.
	const weights = random(concrete(y.shape), seed + 997, 0.3, 1);
	const named = y.shape.some((d) => typeof d === 'string');
	if (named) feeds['weights'] = weights;
	const weighted = b.apply('mul', [y, named ? b.input('weights', y.shape) : b.constant(weights)], {});
	b.output('loss', b.apply('sum', [weighted], { axes: y.shape.map((_, i) => i) }));
	return { graph: b.graph(), feeds, wrt };
}

function shuffled(count: number, seed: number): Float32Array {
	const next = generator(seed + 5);
	const values = Float32Array.from({ length: count }, (_, i) => (i - Math.floor(count / 2) + 0.5) * 0.04);
	for (let i = count - 1; i > 0; i--) {
		const j = Math.floor(next() * (i + 1));
		[values[i], values[j]] = [values[j] as number, values[i] as number];
	}
	return values;
}

export const STEP = 2e-3;

/**
 * d loss / d input by central differences at two steps, Richardson's rule: (4 D(h/2) - D(h)) / 3. In double precision
 * it is right to about 1e-10: h^4 / 480 times the fifth derivative, and 1e-16 / h times the loss.
 * @param entries indices of the elements; default: all
 */
export async function differences(
	session: Session,
	feeds: Readonly<Record<string, HostTensor>>,
	name: string,
	entries?: readonly number[],
): Promise<Float64Array> {
	const feed = feeds[name] as HostTensor;
	const at = async (i: number, by: number): Promise<number> => {
		const data = Float64Array.from(feed.data);
		data[i] = (data[i] ?? 0) + by;
		const { loss } = await session.run({ ...feeds, [name]: { dtype: 'f64', shape: feed.shape, data } });
		return loss?.data[0] ?? Number.NaN;
	};
	const central = async (i: number, h: number): Promise<number> => ((await at(i, h)) - (await at(i, -h))) / (2 * h);
	const out: number[] = [];
	for (const i of entries ?? feed.data.keys()) out.push((4 * (await central(i, STEP / 2)) - (await central(i, STEP))) / 3);
	return Float64Array.from(out);
}

/** Largest absolute value. */
export function largest(...all: readonly ArrayLike<number>[]): number {
	return all.reduce((most, list) => Array.from(list).reduce((m, x) => Math.max(m, Math.abs(x)), most), 0);
}

/** Largest difference; infinite where the lengths differ or something is no number. */
export function apart(a: ArrayLike<number> | undefined, b: ArrayLike<number> | undefined): number {
	if (a === undefined || b === undefined || a.length !== b.length) return Number.POSITIVE_INFINITY;
	let most = 0;
	for (let i = 0; i < a.length; i++) {
		const d = Math.abs((a[i] ?? 0) - (b[i] ?? 0));
		if (!(d <= most)) most = Number.isNaN(d) ? Number.POSITIVE_INFINITY : d;
	}
	return most;
}
