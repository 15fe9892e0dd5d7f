/**
 * erf(x), to the last few bits of a double: the Maclaurin series up to 3, beyond it the continued fraction of erfc
 * (Abramowitz and Stegun 7.1.6 and 7.1.14).
 */
export function erf(x: number): number {
	const a = Math.abs(x);
	if (Number.isNaN(x)) return x;
	if (a > 6) return Math.sign(x);
	return a < 3 ? series(x) : Math.sign(x) * (1 - complement(a));
}

/** 2 / sqrt(pi) exp(-x^2) sum of 2^n x^(2n+1) / (2n+1)!!: every term has one sign, so nothing cancels. */
function series(x: number): number {
	let term = x;
	let sum = x;
	for (let n = 1; Math.abs(term) > 1e-18 * Math.abs(sum); n++) {
		term *= (2 * x * x) / (2 * n + 1);
		sum += term;
	}
	return (2 / Math.sqrt(Math.PI)) * Math.exp(-x * x) * sum;
}

function complement(x: number): number {
	let tail = x;
	for (let n = 60; n >= 1; n--) tail = x + n / 2 / tail;
	return Math.exp(-x * x) / Math.sqrt(Math.PI) / tail;
}
