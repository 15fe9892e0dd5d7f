import type { Role, TargetModule } from '../../adapter.js';
import { FormatError } from '../../errors.js';
import { allocate, type Matrix, product, transpose } from '../../families/matrix.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../half.js';
import type { LowRank } from '../../linalg/low-rank.js';
import type { BaseInventory } from '../../modules/inventory.js';
import { bytesTensor, computedTensor, type Derivation, type Tensor } from '../../tensor.js';
import { weightShape } from '../product/delta-product-shape.js';
import type { MergePart } from './merge-align.js';
import { readProduct } from './merge-part.js';

/** A part and the number that its delta (its own scaling in it) is multiplied with. */
export interface WeightedPart {
	readonly part: MergePart;
	readonly weight: number;
}

/** Parts that can be put side by side, not read yet. */
export interface Stack {
	readonly where: string;
	readonly parts: readonly WeightedPart[];
	/** The scaling that is left to alpha: every part's, all equal. Undefined: all scalings are multiplied into `up`. */
	readonly common: number | undefined;
	/** Says the kernels of convolutions that are stored flattened. */
	readonly inventory?: BaseInventory | undefined;
}

/** The number that every part of a stack is multiplied with, its own scaling included; undefined when they differ. */
export function equalScaling(parts: readonly WeightedPart[]): number | undefined {
	const [first, ...rest] = parts.map(({ part, weight }) => part.module.scaling * weight);
	return first !== undefined && rest.every((s) => s === first) ? first : undefined;
}

/**
 * [s1 B1 | s2 B2 | ...] and [A1 ; A2 ; ...]: their product is the sum, exactly. Read from the files each time.
 * @throws {FormatError} `E_LORA_SHAPE` naming both adapters where the deltas have different shapes; of `readProduct`.
 */
export async function readStack({ where, parts, common, inventory }: Stack): Promise<LowRank> {
	const lows: LowRank[] = [];
	for (const { part, weight } of parts) {
		const own = common === undefined ? await readProduct(part, weight) : await readProduct(part, 1, 1);
		const low: LowRank = { ...own, shape: weightShape(part.module, own.shape, inventory) };
		const [first] = lows;
		if (first !== undefined && !sameWeight(first.shape, low.shape)) throw shapesDiffer(where, parts[0]?.part, first.shape, part, low.shape);
		lows.push(low);
	}
	const [first] = lows;
	if (first === undefined) throw new TypeError('nothing to stack');
	if (lows.length === 1) return first;
	const rows = first.up.rows;
	const { cols } = first.down;
	const rank = lows.reduce((n, { up }) => n + up.cols, 0);
	const up = allocate(where, rows * rank);
	const down = allocate(where, rank * cols);
	let at = 0;
	for (const low of lows) {
		const own = low.up.cols;
		for (let i = 0; i < rows; i++) up.set(low.up.data.subarray(i * own, (i + 1) * own), i * rank + at);
		down.set(low.down.data, at * cols);
		at += own;
	}
	return { up: { rows, cols: rank, data: up }, down: { rows: rank, cols, data: down }, shape: widest(lows.map((l) => l.shape)) };
}

/** The refusal for deltas that do not fit each other. */
export function shapesDiffer(
	where: string,
	a: MergePart | undefined,
	shapeA: readonly number[],
	b: MergePart,
	shapeB: readonly number[],
): FormatError {
	return new FormatError(
		'E_LORA_SHAPE',
		`${where} is (${shapeA.join(', ')}) in ${a?.name ?? 'one adapter'} and (${shapeB.join(', ')}) in ${b.name}; adapters of different models cannot be merged.`,
		{ at: b.module.path },
	);
}

/** (out, in), (out, in, 1, 1), and a convolution flattened by its trainer are one weight when they have one number of rows and columns. */
export function sameWeight(a: readonly number[], b: readonly number[]): boolean {
	return a[0] === b[0] && product(a) === product(b);
}

/** The shape that says most: with a kernel where one of them has it. */
export function widest(shapes: readonly (readonly number[])[]): readonly number[] {
	let best: readonly number[] = [];
	for (const shape of shapes) if (shape.length > best.length) best = shape;
	return best;
}

/** Factors in the stored type, ready to be put into a module. */
export interface LowRankFactors {
	readonly factors: Readonly<Partial<Record<Role, Tensor>>>;
	readonly family: 'lora' | 'embedding';
	readonly rank: number;
	/** The stored bytes as doubles. */
	readonly storedUp: Float64Array;
	readonly storedDown: Float64Array;
	/** Nonzero numbers that became 0 when they were rounded. */
	readonly underflow: number;
}

/** How many bytes of factors may be kept, so that they need not be computed twice. */
export interface KeepBudget {
	left: number;
}

/**
 * Factors of a product in the stored type. Their bytes are kept while the budget lasts; else `again` computes the
 * product anew when they are read.
 *
 * @param embedding the product is (tokens, d): stored as `embedding_down` (r, tokens) and `embedding_up` (d, r)
 * @throws {FormatError} `E_NONFINITE` when the type cannot hold a number.
 */
export function storeLowRank(
	where: string,
	low: LowRank,
	dtype: WritableFloat,
	derivation: Derivation,
	keep: KeepBudget,
	again: () => Promise<LowRank>,
	embedding = false,
): LowRankFactors {
	const up = encodeFloats(dtype, low.up.data);
	const down = encodeFloats(dtype, low.down.data);
	const storedUp = decodeFloats(dtype, up);
	const storedDown = decodeFloats(dtype, down);
	const underflow = lost(where, dtype, low.up.data, storedUp) + lost(where, dtype, low.down.data, storedDown);
	const rank = low.up.cols;
	const bytes = up.byteLength + down.byteLength;
	const kept = bytes <= keep.left;
	if (kept) keep.left -= bytes;
	const tensor = (shape: readonly number[], here: Uint8Array, side: (l: LowRank) => Float64Array): Tensor =>
		kept
			? bytesTensor(dtype, shape, here, undefined, derivation)
			: computedTensor(dtype, shape, derivation, async () => encodeFloats(dtype, side(await again())));
	const [out = 1, ...rest] = low.shape;
	if (embedding) {
		const turned = (m: Matrix): Float64Array => transpose(where, m).data;
		return {
			factors: {
				embedding_down: tensor([rank, out], encodeFloats(dtype, turned(low.up)), (l) => turned(l.up)),
				embedding_up: tensor([product(rest), rank], encodeFloats(dtype, turned(low.down)), (l) => turned(l.down)),
			},
			family: 'embedding',
			rank,
			storedUp,
			storedDown,
			underflow,
		};
	}
	return {
		factors: {
			down: tensor([rank, ...rest], down, (l) => l.down.data),
			up: tensor([out, rank, ...rest.slice(1).map(() => 1)], up, (l) => l.up.data),
		},
		family: 'lora',
		rank,
		storedUp,
		storedDown,
		underflow,
	};
}

/** The scaling fields of a module whose factors are as they should be: alpha = rank, said aloud; or one that is left to alpha. */
export function scalingFields(
	rank: number,
	scaling = 1,
): Pick<TargetModule, 'rank' | 'alpha' | 'alphaSource' | 'alphaTensor' | 'scaleTensor' | 'rule' | 'scaling'> {
	return { rank, alpha: rank * scaling, alphaSource: 'none', alphaTensor: undefined, scaleTensor: undefined, rule: 'alpha/rank', scaling };
}

/** Every tensor that a group's parts are read from. */
export function tensorsOf(parts: readonly MergePart[]): readonly Tensor[] {
	const out: Tensor[] = [];
	for (const { module } of parts) {
		for (const tensor of [...Object.values(module.factors), module.alphaTensor, module.scaleTensor])
			if (tensor !== undefined) out.push(tensor);
	}
	return out;
}

/** Nonzero numbers that became 0. @throws {FormatError} `E_NONFINITE` for one that the type cannot hold. */
export function lost(where: string, dtype: WritableFloat, exact: Float64Array, stored: Float64Array): number {
	let n = 0;
	for (let i = 0; i < exact.length; i++) {
		const y = stored[i] ?? 0;
		if (y === 0) {
			if (exact[i] !== 0) n++;
		} else if (!Number.isFinite(y)) {
			throw new FormatError(
				'E_NONFINITE',
				`${where} would hold ${exact[i]}, which ${dtype} cannot say; merge with --dtype ${dtype === 'F32' ? 'f64' : 'f32'}.`,
				{
					at: where.slice(where.indexOf(' ') + 1),
				},
			);
		}
	}
	return n;
}
