/** Directions nearer than this are mixed linearly: sin of the angle is no longer a sound divisor. */
const PARALLEL = 0.9995;
/** Norms below this have no direction. */
const TINY = 1e-8;

/** What `slerpWeights` works on: |a|^2, |b|^2 and <a, b>. */
export interface SlerpProducts {
	readonly aa: number;
	readonly bb: number;
	readonly ab: number;
}

/**
 * The two numbers of a spherical interpolation a * wa + b * wb, from inner products alone: no delta has to be made. The angle is that
 * between the directions, the lengths are those of a and b. Nearly parallel ones (|cos| > 0.9995) are interpolated linearly.
 * Source: arcee-ai/mergekit mergekit/merge_methods/slerp.py (`slerp`, DOT_THRESHOLD 0.9995, eps 1e-8), which takes the
 * whole tensor as one vector.
 *
 * @param t 0 gives a, 1 gives b
 */
export function slerpWeights({ aa, bb, ab }: SlerpProducts, t: number): readonly [wa: number, wb: number] {
	const [na, nb] = [Math.sqrt(aa), Math.sqrt(bb)];
	const cosine = ab / ((na > TINY ? na : 1) * (nb > TINY ? nb : 1));
	if (Math.abs(cosine) > PARALLEL) return [1 - t, t];
	const angle = Math.acos(cosine);
	const sine = Math.sin(angle);
	return [Math.sin((1 - t) * angle) / sine, Math.sin(t * angle) / sine];
}
