import type { Role } from '../../adapter.js';
import type { StoredPart } from '../../bases/stored-part.js';
import { factor } from '../../families/delta.js';
import { doraDelta } from '../../families/dora.js';
import { computeDelta, type FamilyInput, readFactors, type Values } from '../../families/index.js';
import { allocate, product } from '../../families/matrix.js';
import { kernel } from '../../kernel/index.js';
import type { LowRank } from '../../linalg/low-rank.js';
import type { FuseJob } from '../fuse/plan-fuse-touched.js';
import { partRows } from './part-values.js';
import type { AxisValues, DoraMemo } from './term-memo.js';

/** Doubles of the base that are held at a time: 2 MiB. */
const BLOCK_ELEMENTS = 262_144;

/** A delta that is linear in the base: `diag(base) W + diag(product) (up down)`, or both by columns. */
export interface ScaledDelta {
	readonly axis: 'out' | 'in';
	/** What is added to 1 in front of W. */
	readonly base: Float64Array;
	/** What multiplies the product at strength 1. */
	readonly product: Float64Array;
}

/** The share of the product inside DoRA's norm: the strength counts there for PEFT alone. */
export function normShare(job: FuseJob): number {
	return job.doraStrength === 'peft' ? job.strength : 1;
}

/** What a DoRA needs at any strength. @throws {FormatError} `E_LORA_UNPAIRED` without a magnitude; what reading throws */
export async function readDora(job: FuseJob, part: StoredPart, unit: LowRank, share: number): Promise<DoraMemo> {
	const { module } = job;
	const alone = module.factors.magnitude === undefined ? {} : { magnitude: module.factors.magnitude };
	const factors = await readFactors({ ...module, factors: alone });
	const magnitude = factor({ where: `${module.component} ${module.path}`, module, factors }, 'magnitude');
	return { magnitude, norms: await normsOf(job, part, unit, share), share };
}

/**
 * Norms of W + share * up down along the axis that a DoRA's magnitude stands for. The base's weight is read once, in
 * blocks of rows.
 */
async function normsOf(job: FuseJob, part: StoredPart, unit: LowRank, share: number): Promise<AxisValues> {
	const { module } = job;
	const where = `${module.component} ${module.path}`;
	// As in `doraDelta`: an embedding's magnitude is by its width.
	const axis = module.family === 'embedding' ? 'in' : (module.magnitudeAxis ?? 'out');
	const [rows = 1, inner = 1] = part.shape;
	const taps = product(part.shape.slice(2));
	const columns = inner * taps;
	const { up, down } = unit;
	const squares = allocate(where, axis === 'out' ? rows : inner);
	const step = part.transposed ? rows : Math.max(1, Math.floor(BLOCK_ELEMENTS / Math.max(1, columns)));
	for (let from = 0; from < rows; from += step) {
		const to = Math.min(rows, from + step);
		const v = await partRows(part, from, to);
		kernel().addProduct(v, up.data.subarray(from * up.cols, to * up.cols), down.data, to - from, up.cols, columns, share);
		for (let i = from, at = 0; i < to; i++, at += columns) {
			if (axis === 'out') squares[i] = sumOfSquares(v, at, at + columns);
			else for (let j = 0; j < inner; j++) squares[j] = (squares[j] ?? 0) + sumOfSquares(v, at + j * taps, at + (j + 1) * taps);
		}
	}
	return { axis, values: squares.map(Math.sqrt) };
}

function sumOfSquares(data: Float64Array, from: number, to: number): number {
	let sum = 0;
	for (let i = from; i < to; i++) {
		const x = data[i] ?? 0;
		sum += x * x;
	}
	return sum;
}

/**
 * DoRA with known norms is linear in W and in the product D, with one pair of numbers for each row (or column). They are
 * what the family's own `doraDelta` answers for a weight of one number a group: once W is the norm and D is nothing, once
 * the other way round. So the rule of the magnitude and of the strength is written in one place.
 */
export function doraScale(job: FuseJob, { magnitude, norms, share }: DoraMemo): ScaledDelta {
	const { module, strength } = job;
	const { axis, values } = norms;
	const factors: ReadonlyMap<Role, Values> = new Map([['magnitude', magnitude]]);
	const shape = axis === 'out' ? [values.length, 1] : [1, values.length];
	const zero = new Float64Array(values.length);
	const respond = (base: Float64Array, delta: Float64Array): Float64Array => {
		const input: FamilyInput = {
			where: `${module.component} ${module.path}`,
			module,
			factors,
			scaling: module.scaling,
			strength,
			base: { shape, data: base, bias: undefined },
			peftOft: undefined,
		};
		const { weight } = doraDelta(input, { weight: { shape, data: delta }, bias: undefined }, job.doraStrength ?? 'interpolate');
		return (weight?.data ?? zero).map((x, g) => x / (values[g] ?? 0));
	};
	return { axis, base: respond(values, zero), product: respond(zero, values).map((x) => x * share) };
}

/** IA3 adds a multiple of each row or column: what the family answers for a weight of ones, at strength 1. */
export async function ia3Scale(job: FuseJob, part: StoredPart): Promise<AxisValues> {
	const { module } = job;
	const [out = 1, inner = 1] = part.shape;
	const shape = [out, inner];
	const ones = allocate(`${module.component} ${module.path}`, out * inner).fill(1);
	const { weight } = computeDelta(module, await readFactors(module), { base: { weight: ones, shape } });
	const data = weight?.data ?? new Float64Array(out * inner);
	const byRows = data.every((x, i) => Object.is(x, data[i - (i % inner)]));
	return byRows
		? { axis: 'out', values: Float64Array.from({ length: out }, (_, i) => data[i * inner] ?? 0) }
		: { axis: 'in', values: data.slice(0, inner) };
}
