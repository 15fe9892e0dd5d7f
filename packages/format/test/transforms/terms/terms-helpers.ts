import type { Family, Role, TargetModule } from '../../../src/adapter.js';
import type { BaseModel } from '../../../src/bases/index.js';
import { indexBase } from '../../../src/bases/index.js';
import { decodeFloats, type WritableFloat } from '../../../src/half.js';
import type { Tensor } from '../../../src/tensor.js';
import { planFuse } from '../../../src/transforms/fuse/plan-fuse.js';
import type { FuseOptions } from '../../../src/transforms/fuse/plan-fuse-types.js';
import type { AdapterUse } from '../../../src/transforms/strength/adapter-use.js';
import type { ModuleTerms, TermPlan } from '../../../src/transforms/terms/terms-types.js';
import { countOf, floats } from '../../bases/helpers.js';
import { moduleOf } from '../../families/helpers.js';
import { numbers } from '../../support/small-adapter.js';

type Shapes = Partial<Record<Role, readonly number[]>>;

/** How a module's terms must look. */
export type Form = 'low' | 'rows' | 'columns' | 'rows+low' | 'columns+low' | 'dense' | 'none';

interface Kind {
	readonly family: Family;
	readonly form: Form;
	/** Factors for a weight (6, 4, k, k), or (6, 4) for k = 1, and a rank; undefined where there is none of that kernel. */
	shapes(k: number, r: number): Shapes | undefined;
	readonly more?: Partial<TargetModule>;
	/** Values that are no free numbers. */
	readonly fixed?: Partial<Record<Role, readonly number[]>>;
}

const kernelOf = (k: number): readonly number[] => (k === 1 ? [] : [k, k]);
const ones = (k: number): readonly number[] => (k === 1 ? [] : [1, 1]);
const lora = (k: number, r: number): Shapes => ({ up: [6, r, ...ones(k)], down: [r, 4, ...kernelOf(k)] });
const loha = (k: number, r: number): Shapes => ({
	hada_w1_a: [6, r],
	hada_w1_b: [r, 4 * k * k],
	hada_w2_a: [6, 1],
	hada_w2_b: [1, 4 * k * k],
});
const scaled: Partial<TargetModule> = { scaling: -0.75, rule: 'alpha/rank', alpha: -1.5 };

/** Every family in every form that has a name of its own in `families/`. */
export const KINDS: ReadonlyMap<string, Kind> = new Map<string, Kind>([
	['lora', { family: 'lora', form: 'low', shapes: lora, more: scaled }],
	['lora with a bias', { family: 'lora', form: 'low', shapes: (k, r) => ({ ...lora(k, r), up_bias: [6] }), more: scaled }],
	['lora, diff_b beside', { family: 'lora', form: 'low', shapes: (k, r) => ({ ...lora(k, r), diff_b: [6] }), more: scaled }],
	[
		'lora, sparse rest',
		{
			family: 'lora',
			form: 'dense',
			shapes: (k, r) => ({ ...lora(k, r), bias_indices: [2, 3], bias_values: [3], bias_size: [2] }),
			fixed: { bias_indices: [0, 5, 2, 1, 3, 0] },
		},
	],
	[
		'locon',
		{ family: 'locon', form: 'low', shapes: (k, r) => ({ up: [6, r, 1, 1], mid: [r, r, k, k], down: [r, 4, 1, 1] }), more: scaled },
	],
	['loha', { family: 'loha', form: 'low', shapes: (k) => loha(k, 1), more: scaled }],
	['loha of a high rank', { family: 'loha', form: 'dense', shapes: (k, r) => loha(k, r + 2), more: scaled }],
	[
		'loha with cores',
		{
			family: 'loha',
			form: 'low',
			shapes: (k) => ({
				hada_t1: [1, 1, k, k],
				hada_w1_a: [1, 6],
				hada_w1_b: [1, 4],
				hada_t2: [2, 2, k, k],
				hada_w2_a: [2, 6],
				hada_w2_b: [2, 4],
			}),
			more: scaled,
		},
	],
	[
		'lokr of parts',
		{
			family: 'lokr',
			form: 'low',
			shapes: (k) => ({ lokr_w1_a: [3, 1], lokr_w1_b: [1, 2], lokr_w2_a: [2, 1], lokr_w2_b: [1, 2, ...kernelOf(k)] }),
			more: scaled,
		},
	],
	[
		'lokr of whole factors',
		{ family: 'lokr', form: 'dense', shapes: (k) => ({ lokr_w1: [3, 2], lokr_w2: [2, 2, ...kernelOf(k)] }), more: scaled },
	],
	[
		'embedding',
		{
			family: 'embedding',
			form: 'low',
			shapes: (k, r) => (k === 1 ? { embedding_down: [r, 6], embedding_up: [4, r] } : undefined),
			more: scaled,
		},
	],
	[
		'dora by rows',
		{ family: 'lora', form: 'rows+low', shapes: (k, r) => ({ ...lora(k, r), magnitude: [6] }), more: { ...scaled, magnitudeAxis: 'out' } },
	],
	[
		'dora by columns',
		{
			family: 'lora',
			form: 'columns+low',
			shapes: (k, r) => ({ ...lora(k, r), magnitude: [1, 4] }),
			more: { ...scaled, magnitudeAxis: 'in' },
		},
	],
	[
		'dora over loha',
		{ family: 'loha', form: 'rows+low', shapes: (k) => ({ ...loha(k, 1), magnitude: [6, 1] }), more: { ...scaled, magnitudeAxis: 'out' } },
	],
	[
		'dora with a bias',
		{
			family: 'lora',
			form: 'rows+low',
			shapes: (k, r) => ({ ...lora(k, r), magnitude: [6], up_bias: [6] }),
			more: { ...scaled, magnitudeAxis: 'out' },
		},
	],
	[
		'dora over an embedding',
		{
			family: 'embedding',
			form: 'columns+low',
			shapes: (k, r) => (k === 1 ? { embedding_down: [r, 6], embedding_up: [4, r], magnitude: [4] } : undefined),
			more: scaled,
		},
	],
	['ia3 of rows', { family: 'ia3', form: 'rows', shapes: () => ({ ia3_weight: [6, 1], on_input: [] }), fixed: { on_input: [0] } }],
	['ia3 of columns', { family: 'ia3', form: 'columns', shapes: () => ({ ia3_weight: [1, 4], on_input: [] }), fixed: { on_input: [1] } }],
	['ia3 of PEFT, rows', { family: 'peft-ia3', form: 'rows', shapes: (k) => ({ ia3_l: k === 1 ? [6, 1] : [1, 6, 1, 1] }) }],
	['ia3 of PEFT, columns', { family: 'peft-ia3', form: 'columns', shapes: (k) => ({ ia3_l: k === 1 ? [1, 4] : [1, 4, 1, 1] }) }],
	['full', { family: 'full', form: 'dense', shapes: (k) => ({ diff: [6, 4, ...kernelOf(k)], diff_b: [6] }) }],
	['full, bias alone', { family: 'full', form: 'none', shapes: () => ({ diff_b: [6] }) }],
	['whole', { family: 'whole', form: 'dense', shapes: (k) => ({ weight: [6, 4, ...kernelOf(k)], bias: [6] }) }],
	[
		'glora',
		{
			family: 'glora',
			form: 'dense',
			shapes: (k, r) => ({ glora_a1: [4, r], glora_a2: [r, 4], glora_b1: [6, r], glora_b2: [r, 4 * k * k] }),
			more: scaled,
		},
	],
	['oft', { family: 'oft', form: 'dense', shapes: () => ({ oft_blocks: [3, 2, 2] }) }],
	['boft', { family: 'boft', form: 'dense', shapes: () => ({ oft_blocks: [1, 3, 2, 2] }) }],
	['oft of PEFT', { family: 'peft-oft', form: 'dense', shapes: (k) => ({ oft_R: [2 * k * k, 1] }) }],
	['boft of PEFT', { family: 'peft-boft', form: 'dense', shapes: (k) => ({ boft_R: [1, 2 * k * k, 2, 2], boft_s: [6, 1] }) }],
]);

/** PEFT's OFT needs its configuration; the others do not mind. */
export const FORM: ReadonlyMap<string, string> = new Map([['peft.config', '{"num_cayley_neumann_terms": 5}']]);

/** A module of one kind with factors in (-1, 1); undefined where the kind has none for this kernel. */
export function moduleFor(
	name: string,
	k: number,
	rank: number,
	dtype: WritableFloat,
	seed: number,
	place: Partial<TargetModule>,
): TargetModule | undefined {
	const kind = KINDS.get(name);
	const shapes = kind?.shapes(k, rank);
	if (kind === undefined || shapes === undefined) return undefined;
	const next = numbers(seed);
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, shape] of Object.entries(shapes) as [Role, readonly number[]][]) {
		const fixed = role === 'bias_size' ? [6, 4 * k * k] : kind.fixed?.[role];
		factors[role] = floats(dtype, shape, fixed ?? Array.from({ length: countOf(shape) }, next));
	}
	return moduleOf(kind.family, factors, { rank, ...kind.more, ...place });
}

/** W and b of a module with its terms, written out from their definition alone. */
export async function applied(
	terms: ModuleTerms,
	weight: Float64Array,
	bias?: Float64Array,
): Promise<{ weight: Float64Array; bias: Float64Array | undefined }> {
	const { shape, rowScale, columnScale, lowRank, dense } = terms;
	const b = bias?.map((x, i) => x + (terms.bias?.[i] ?? 0));
	if (dense !== undefined) return { weight: await dense(), bias: b };
	const [rows = 1, inner = 1] = shape;
	const columns = shape.length === 0 ? 0 : countOf(shape) / rows;
	const taps = columns / inner;
	const out = weight.slice();
	for (let i = 0; i < rows; i++) {
		for (let j = 0; j < columns; j++) {
			let x = (weight[i * columns + j] ?? 0) * (rowScale?.[i] ?? 1) * (columnScale?.[Math.floor(j / taps)] ?? 1);
			const rank = lowRank?.rank ?? 0;
			for (let r = 0; r < rank; r++) x += (lowRank?.up[i * rank + r] ?? 0) * (lowRank?.down[r * columns + j] ?? 0);
			out[i * columns + j] = x;
		}
	}
	return { weight: out, bias: b };
}

/**
 * The largest distance of base + terms from base + delta of `planFuse` (before its rounding), relative to the largest
 * number of each tensor (of W, W' and their difference). Infinity when one has a module that the other lacks.
 */
export async function distanceFromFuse(
	base: BaseModel,
	uses: readonly AdapterUse[],
	plan: TermPlan,
	options: FuseOptions = {},
): Promise<number> {
	const fuse = await planFuse(base, uses, options);
	// Stored tensors after the terms, module by module.
	const stored = new Map<Tensor, { readonly before: Float64Array; readonly after: Float64Array; touched: boolean }>();
	const open = async (tensor: Tensor): Promise<{ readonly before: Float64Array; readonly after: Float64Array; touched: boolean }> => {
		let known = stored.get(tensor);
		if (known === undefined) {
			const before = decodeFloats(tensor.dtype, await tensor.read());
			known = { before, after: before.slice(), touched: false };
			stored.set(tensor, known);
		}
		return known;
	};
	for (const terms of plan.modules) {
		const module = indexBase(base).find(terms.component, terms.path);
		if (module === undefined) return Number.POSITIVE_INFINITY;
		const gathered = new Map<string, Float64Array>();
		for (const leaf of [terms.leaf, 'bias'] as const) {
			const part = module.parts.get(leaf);
			if (part === undefined) continue;
			const [rows = 1, columns = 1] = part.shape;
			const taps = countOf(part.shape) / rows;
			const values = new Float64Array(countOf(part.shape));
			for (const s of part.segments) {
				const { before } = await open(s.tensor);
				if (part.transposed)
					for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) values[i * columns + j] = before[j * rows + i] ?? 0;
				else values.set(before.subarray(s.tensorRow * taps, (s.tensorRow + s.rows) * taps), s.moduleRow * taps);
			}
			gathered.set(leaf, values);
		}
		const result = await applied(terms, gathered.get(terms.leaf) ?? new Float64Array(0), gathered.get('bias'));
		for (const [leaf, values] of [
			[terms.leaf, result.weight],
			['bias', result.bias],
		] as const) {
			const part = module.parts.get(leaf);
			if (part === undefined || values === undefined) continue;
			const [rows = 1, columns = 1] = part.shape;
			const taps = countOf(part.shape) / rows;
			for (const s of part.segments) {
				const entry = await open(s.tensor);
				entry.touched = true;
				if (part.transposed)
					for (let i = 0; i < rows; i++) for (let j = 0; j < columns; j++) entry.after[j * rows + i] = values[i * columns + j] ?? 0;
				else entry.after.set(values.subarray(s.moduleRow * taps, (s.moduleRow + s.rows) * taps), s.tensorRow * taps);
			}
		}
	}
	let worst = 0;
	const seen = new Set<Tensor>();
	for (const touched of fuse.touched) {
		seen.add(touched.tensor);
		const entry = await open(touched.tensor);
		if (!entry.touched) return Number.POSITIVE_INFINITY;
		const delta = await touched.delta(0, touched.tensor.shape[0] ?? 1, await touched.tensor.read());
		let size = 0;
		delta.forEach((d, i) => {
			size = Math.max(size, Math.abs(d), Math.abs(entry.before[i] ?? 0));
		});
		delta.forEach((d, i) => {
			const error = Math.abs((entry.after[i] ?? Number.NaN) - ((entry.before[i] ?? 0) + d)) / Math.max(size, Number.MIN_VALUE);
			if (!(error <= worst)) worst = error;
		});
	}
	// What fuse leaves alone must be as it was, to the last bit.
	for (const [tensor, { before, after }] of stored) {
		if (!seen.has(tensor) && before.some((x, i) => !Object.is(x, after[i]))) return Number.POSITIVE_INFINITY;
	}
	return worst;
}
