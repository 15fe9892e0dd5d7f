/** Terms of the series: at x <= 1/2 each is less than half of the one before. */
const MAX_TERMS = 80;
const MAX_ITERATIONS = 60;

/**
 * Quantile of the symmetric beta distribution with both parameters `a` (0 < a <= 1) at `p` in [0, 1]:
 * `scipy.stats.beta.ppf(p, a, a)`. In the lower half by Newton's method on the series of the incomplete beta
 * integral, which is concave there; the upper half mirrors it.
 */
export function symmetricBetaQuantile(p: number, a: number): number {
	if (p <= 0) return 0;
	if (p >= 1) return 1;
	if (p > 0.5) return 1 - symmetricBetaQuantile(1 - p, a);
	const wanted = 2 * p * incomplete(0.5, a);
	// Every term of the series is positive, so the first alone gives a bound from above.
	let x = Math.min((wanted * a) ** (1 / a), 0.5);
	for (let i = 0; i < MAX_ITERATIONS; i++) {
		const next = x - (incomplete(x, a) - wanted) / (x * (1 - x)) ** (a - 1);
		if (Math.abs(next - x) <= 1e-16 * x) return next;
		x = next;
	}
	return x;
}

/** Integral of (t (1 - t))^(a - 1) from 0 to x, x <= 1/2. */
function incomplete(x: number, a: number): number {
	let term = 1;
	let sum = 1 / a;
	for (let k = 1; k < MAX_TERMS; k++) {
		term *= ((k - a) / k) * x;
		sum += term / (a + k);
	}
	return x ** a * sum;
}
