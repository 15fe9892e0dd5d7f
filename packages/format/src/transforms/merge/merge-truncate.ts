import type { Role } from '../../adapter.js';
import { product, transpose } from '../../families/matrix.js';
import { decodeFloats, encodeFloats, type WritableFloat } from '../../half.js';
import { firstTriplets } from '../../linalg/lazy-svd.js';
import type { LowRank, Svd } from '../../linalg/low-rank.js';
import { bytesTensor, type Derivation, type Tensor } from '../../tensor.js';
import type { DeltaProduct } from '../product/delta-product.js';
import { storeFactors } from '../resize/resize-factors.js';
import { decompose } from '../resize/resize-svd.js';

/** Factors of a truncated sum in the stored type, and how far they are from it. */
export interface Truncated {
	readonly factors: Readonly<Partial<Record<Role, Tensor>>>;
	readonly family: 'lora' | 'embedding';
	readonly rank: number;
	/** Truncation and rounding together, relative. */
	readonly error: number;
	/** Truncation alone, relative. */
	readonly truncation: number;
	readonly underflow: number;
}

/**
 * The best product of a rank: the SVD of the small core between two thin QRs, never of the delta (Eckart and Young). Factors are balanced, U sqrt(S)
 * and sqrt(S) V^T, so that neither leaves the range of half precision.
 * @throws {FormatError} `E_NONFINITE`.
 */
export function truncated(
	where: string,
	low: LowRank,
	rank: number,
	dtype: WritableFloat,
	derivation: Derivation,
	embedding: boolean,
): Truncated {
	const delta: DeltaProduct = { kind: 'product', factors: { up: low.up, down: low.down }, shape: low.shape };
	const all = decompose(where, delta, rank);
	const noise = noiseOf(low);
	const parts = { ...all, svd: firstTriplets(all.svd, nonzero(all.svd.s, noise)) };
	if ((all.svd.s[0] ?? 0) <= noise) return cancelled(where, low, parts.svd, dtype, derivation, embedding);
	const stored = storeFactors(where, delta, parts, dtype);
	const truncation = parts.total > 0 ? Math.sqrt(Math.max(0, parts.rest) / parts.total) : 0;
	return {
		...asFactors(where, stored.up, stored.down, stored.rank, low.shape, dtype, derivation, embedding),
		rank: stored.rank,
		error: stored.error,
		truncation,
		underflow: stored.underflow,
	};
}

/** Bytes of two factors as tensors of a LoRA, or turned round as those of an embedding. */
export function asFactors(
	where: string,
	up: Uint8Array,
	down: Uint8Array,
	rank: number,
	shape: readonly number[],
	dtype: WritableFloat,
	derivation: Derivation,
	embedding: boolean,
): Pick<Truncated, 'factors' | 'family'> {
	const [out = 1, ...rest] = shape;
	const tensor = (dims: readonly number[], bytes: Uint8Array): Tensor => bytesTensor(dtype, dims, bytes, undefined, derivation);
	if (!embedding)
		return { factors: { down: tensor([rank, ...rest], down), up: tensor([out, rank, ...rest.slice(1).map(() => 1)], up) }, family: 'lora' };
	const turned = (rows: number, cols: number, bytes: Uint8Array): Uint8Array =>
		encodeFloats(dtype, transpose(where, { rows, cols, data: decodeFloats(dtype, bytes) }).data);
	return {
		factors: {
			embedding_down: tensor([rank, out], turned(out, rank, up)),
			embedding_up: tensor([product(rest), rank], turned(rank, product(rest), down)),
		},
		family: 'embedding',
	};
}

/** Parts that cancel each other out, but for the rounding of doubles: one triplet of zeros says it, without an error. */
function cancelled(
	where: string,
	low: LowRank,
	{ u, v }: Svd,
	dtype: WritableFloat,
	derivation: Derivation,
	embedding: boolean,
): Truncated {
	const zeros = (length: number): Uint8Array => encodeFloats(dtype, new Float64Array(length));
	return {
		...asFactors(where, zeros(u.rows), zeros(v.rows), 1, low.shape, dtype, derivation, embedding),
		rank: 1,
		error: 0,
		truncation: 0,
		underflow: 0,
	};
}

/**
 * What rounding may leave of singular values that are 0: that of the summands, each |up column| |down row|, which are larger than
 * their sum where parts cancel out. Measured: up to 2^-50 of their norms' sum.
 */
function noiseOf({ up, down }: LowRank): number {
	const [u, d] = [new Float64Array(up.cols), new Float64Array(up.cols)];
	for (let i = 0; i < up.data.length; i += up.cols) for (let k = 0; k < up.cols; k++) u[k] = (u[k] ?? 0) + (up.data[i + k] ?? 0) ** 2;
	for (let k = 0; k < up.cols; k++) {
		let sum = 0;
		for (let j = k * down.cols; j < (k + 1) * down.cols; j++) sum += (down.data[j] ?? 0) ** 2;
		d[k] = sum;
	}
	let sum = 0;
	for (let k = 0; k < up.cols; k++) sum += Math.sqrt(u[k] ?? 0) * Math.sqrt(d[k] ?? 0);
	// Squares beyond doubles say nothing.
	return Number.isFinite(sum) ? sum * 2 ** -47 : 0;
}

/** Ranks beyond the true one would be noise. At least 1: a module of rank 0 is none. */
function nonzero(values: Float64Array, noise: number): number {
	const floor = Math.max((values[0] ?? 0) * 2 ** -50, noise);
	let n = 0;
	for (const s of values) if (s > floor) n++;
	return Math.max(1, n);
}
