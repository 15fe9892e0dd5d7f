import { segmentName } from '../../bases/stored-part.js';
import { quote } from '../../errors.js';
import { kernel } from '../../kernel/index.js';
import { cosineOf, type DeltaProducts, deltaProducts, NO_PRODUCTS } from '../gain-cosine.js';
import { isFusable } from './plan-fuse-touched.js';
import type { FusePlan } from './plan-fuse-types.js';
import type { TouchedTensor } from './touched-tensor.js';
import type { Measured } from './verify-fused-causes.js';

/** How many elements of foreign deltas may still be computed. */
export interface PairBudget {
	elements: number;
}

/** Bytes of one tensor in the base and in FUSED. */
export interface BeforeAfter {
	readonly before: Uint8Array;
	readonly after: Uint8Array;
	readonly dtype: string;
}

/** A cosine from which a delta counts as recognised. */
const RECOGNISED = 0.9;

/**
 * Whose delta is it, where it is not its own? Compares the actual delta with that of every other touched tensor of
 * the same shape, and with its own turned over. Undefined when none fits, or the budget is spent.
 */
export async function findOther(
	plan: FusePlan,
	touched: TouchedTensor,
	bytes: BeforeAfter,
	budget: PairBudget,
): Promise<Measured['other']> {
	const actual = actualDelta(touched, bytes);
	if (actual === undefined) return undefined;
	const turned = await isTurned(touched, actual, bytes.before, budget);
	if (turned) return { cause: 'transposed', why: 'its delta is the transposed one: rows and columns were exchanged' };
	let best: { readonly cosine: number; readonly other: TouchedTensor } | undefined;
	for (const other of plan.touched) {
		// A delta of the base would be one of another base here.
		if (other === touched || other.needsBase || !sameShape(other, touched)) continue;
		if (budget.elements < actual.length) break;
		budget.elements -= actual.length;
		const cosine = await cosineTo(other, actual);
		if (Math.abs(cosine) > Math.abs(best?.cosine ?? 0)) best = { cosine, other };
	}
	if (best === undefined || !(Math.abs(best.cosine) >= RECOGNISED)) return undefined;
	const [name = segmentName(best.other)] = best.other.modules;
	return {
		cause: 'wrong-module',
		why: `its delta is that of ${quote(name)}${orderHint(touched, best.other)}`,
	};
}

/** cloneofsimo's nameless lists: which of feed-forward and second attention comes first depends on the diffusers release. */
function orderHint(a: TouchedTensor, b: TouchedTensor): string {
	const kinds = [a, b].map(({ modules: [name = ''] }) =>
		/\.(attn1|attn2|ff)\.|\.(q_proj|k_proj|v_proj)$|\.(to_q|to_k|to_v)$/
			.exec(name)
			?.slice(1)
			.find((k) => k !== undefined),
	);
	const [one, two] = kinds;
	if (one === undefined || two === undefined || one === two) return ': the modules were taken in another order';
	const blocks = [one, two].every((k) => /^(attn|ff)/.test(k));
	return blocks
		? ': the list was read in the other order (diffusers up to 0.14 has ff before attn2, later ones attn2 before ff; see --order old and --order new)'
		: `: ${one} and ${two} were exchanged`;
}

function sameShape(a: TouchedTensor, b: TouchedTensor): boolean {
	const [x, y] = [a.tensor.shape, b.tensor.shape];
	return x.length === y.length && x.every((d, i) => d === y[i]);
}

function actualDelta({ tensor }: TouchedTensor, { before, after, dtype }: BeforeAfter): Float64Array | undefined {
	const type = isFusable(tensor.dtype) ? tensor.dtype : undefined;
	if (type === undefined || (dtype !== 'F16' && dtype !== 'BF16' && dtype !== 'F32' && dtype !== 'F64')) return undefined;
	const out = kernel().decode(dtype, after);
	const base = kernel().decode(type, before);
	for (let i = 0; i < out.length; i++) out[i] = (out[i] as number) - (base[i] as number);
	return out;
}

/** NaN where one of the two is 0. */
async function cosineTo(other: TouchedTensor, actual: Float64Array): Promise<number> {
	const rows = other.tensor.shape[0] ?? 1;
	const columns = actual.length / Math.max(1, rows);
	let products: DeltaProducts = NO_PRODUCTS;
	for (let from = 0; from < rows; from += other.blockRows) {
		const to = Math.min(rows, from + other.blockRows);
		products = deltaProducts(actual.subarray(from * columns), await other.delta(from, to), products);
	}
	return cosineOf(products);
}

async function isTurned(touched: TouchedTensor, actual: Float64Array, before: Uint8Array, budget: PairBudget): Promise<boolean> {
	const [rows = 0, columns = 0] = touched.tensor.shape;
	if (rows !== columns || rows * columns !== actual.length || rows < 2 || budget.elements < actual.length) return false;
	budget.elements -= actual.length;
	let [ee, aa, ae] = [0, 0, 0];
	for (let from = 0; from < rows; from += touched.blockRows) {
		const to = Math.min(rows, from + touched.blockRows);
		const delta = await touched.delta(from, to, before);
		for (let i = from; i < to; i++) {
			for (let j = 0; j < columns; j++) {
				const e = delta[(i - from) * columns + j] as number;
				const a = actual[j * columns + i] as number;
				ee += e * e;
				aa += a * a;
				ae += a * e;
			}
		}
	}
	return cosineOf({ ee, aa, ae }) >= RECOGNISED;
}
