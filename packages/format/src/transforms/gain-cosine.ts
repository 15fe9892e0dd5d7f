/**
 * Inner products of an actual delta a and an expected one e, in float64: all that gain and cosine need. They add up
 * over blocks and over tensors, so that nothing of a tensor's size is kept.
 */
export interface DeltaProducts {
	/** <e, e> = sum of e_i^2; its root is the Euclidean (Frobenius) norm of the expected delta. */
	readonly ee: number;
	/** <a, a> = sum of a_i^2. */
	readonly aa: number;
	/** <a, e> = sum of a_i e_i. */
	readonly ae: number;
}

/** Of nothing: where sums start. */
export const NO_PRODUCTS: DeltaProducts = { ee: 0, aa: 0, ae: 0 };

/**
 * The products of two deltas, added element by element to those of the blocks before. NaN and Inf go into the sums.
 *
 * @param actual at least as many elements as `expected`, in the same order
 * @param before products so far
 */
export function deltaProducts(actual: ArrayLike<number>, expected: ArrayLike<number>, before: DeltaProducts = NO_PRODUCTS): DeltaProducts {
	let { ee, aa, ae } = before;
	for (let i = 0; i < expected.length; i++) {
		const e = expected[i] as number;
		const a = actual[i] as number;
		ee += e * e;
		aa += a * a;
		ae += a * e;
	}
	return { ee, aa, ae };
}

/** The products of deltas laid end to end: those of several tensors together. */
export function totalProducts(parts: Iterable<DeltaProducts>): DeltaProducts {
	let { ee, aa, ae } = NO_PRODUCTS;
	for (const part of parts) {
		ee += part.ee;
		aa += part.aa;
		ae += part.ae;
	}
	return { ee, aa, ae };
}

/**
 * How many times the expected delta the actual one holds: `<a, e> / <e, e>`, the g that makes |a - g e| least. 1 where
 * it is right, 0 where nothing was added or what was is perpendicular to it, 2 added twice, -1 subtracted; NaN where
 * nothing was expected.
 */
export function gainOf({ ee, ae }: Pick<DeltaProducts, 'ee' | 'ae'>): number {
	return ee === 0 ? Number.NaN : ae / ee;
}

/**
 * Cosine of the angle between the two: `<a, e> / (|a| |e|)`. 1 or -1 where the actual delta is a multiple of the
 * expected one, whatever its gain; NaN where one of them is 0, which has no direction.
 */
export function cosineOf({ ee, aa, ae }: DeltaProducts): number {
	// One root of the product: exactly 1 where a = e.
	return ee === 0 || aa === 0 ? Number.NaN : ae / Math.sqrt(ee * aa);
}
