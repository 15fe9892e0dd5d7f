/** A number times an array. */
export type Term = readonly [factor: number, array: Float32Array];

/**
 * The sum of `terms`, over `divisor`, element by element: in float64, rounded once to float32. A divisor of its own
 * keeps the sign of what becomes infinite where a zero terminal SNR divides by nothing, as it is in diffusers.
 */
export function combine(terms: readonly Term[], divisor = 1): Float32Array {
	const length = terms[0]?.[1].length ?? 0;
	const sums = new Float64Array(length);
	for (const [factor, array] of terms) {
		for (let i = 0; i < length; i++) sums[i] = (sums[i] as number) + factor * (array[i] as number);
	}
	const result = new Float32Array(length);
	for (let i = 0; i < length; i++) result[i] = (sums[i] as number) / divisor;
	return result;
}
