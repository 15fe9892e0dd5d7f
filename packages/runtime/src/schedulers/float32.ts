/**
 * NumPy's and torch's float32 arithmetic where the last bit decides a timestep. Torch and numpy have fused
 * multiply-adds; here a double holds the product of two float32 exactly, so one `Math.fround` stands for one of them.
 */

const f32 = Math.fround;

/** `torch.linspace(start, end, count, dtype=float32)`: from both ends to the middle (aten/src/ATen/native/cpu/RangeFactoriesKernel.cpp). */
export function linspace32(start: number, end: number, count: number): Float32Array {
	const [first, last] = [f32(start), f32(end)];
	const step = count > 1 ? f32(f32(last - first) / (count - 1)) : 0;
	const half = Math.floor(count / 2);
	return Float32Array.from({ length: count }, (_, i) => (i < half || count === 1 ? first + step * i : last - step * (count - i - 1)));
}

/** `np.linspace(start, stop, count)` in float64. */
export function linspace(start: number, stop: number, count: number): number[] {
	const step = (stop - start) / (count - 1);
	return Array.from({ length: count }, (_, i) => (i === 0 ? start : i === count - 1 ? stop : i * step + start));
}

/** `np.arange(start, 0, -step)`: numpy takes its increment from the first two values. */
export function arangeDown(start: number, step: number): number[] {
	const delta = start - step - start;
	return Array.from({ length: Math.max(Math.ceil(-start / -step), 0) }, (_, i) => (i === 1 ? start - step : start + i * delta));
}

/** To the nearest whole number, halves to the even one, as numpy and torch round. */
export function roundHalfEven(x: number): number {
	const floor = Math.floor(x);
	const rest = x - floor;
	if (rest !== 0.5) return rest < 0.5 ? floor : floor + 1;
	return floor % 2 === 0 ? floor : floor + 1;
}

/** `np.interp(x, arange(table.length), table)`. */
export function interpolate(x: number, table: Float32Array): number {
	const last = table.length - 1;
	if (x >= last) return table[last] as number;
	if (x < 0) return table[0] as number;
	const j = Math.floor(x);
	const low = table[j] as number;
	return ((table[j + 1] as number) - low) * (x - j) + low;
}

const LOG_P = [0.9999999999999999, 2.112677543073053, 1.4800006335765066, 0.3808837741388408, 0.025899791179079226];
const LOG_Q = [1, 2.6126775430731093, 2.453006071784736, 0.9864942958519419, 0.15464763749839067, 0.005875095403124574];
const [P, Q] = [LOG_P.map(f32), LOG_Q.map(f32)];
const LN2 = f32(Math.LN2);

/**
 * `np.log` of a positive float32, to the bit: not the nearest float32 in a fifth of all cases. A quotient of
 * polynomials around 1 (coefficients: numpy/_core/src/umath/npy_simd_data.h, NPY_COEFF_P*_LOGf and Q*), as numpy
 * computes it with AVX2 or AVX-512. Karras timesteps of Euler, Heun and LMS are made from it.
 */
export function log32(x: number): number {
	if (!(x > 0) || x === Number.POSITIVE_INFINITY || x < 2 ** -126) return f32(Math.log(x));
	let exponent = Math.floor(Math.log2(x));
	if (2 ** exponent > x) exponent--;
	else if (2 ** (exponent + 1) <= x) exponent++;
	let mantissa = x / 2 ** exponent;
	if (mantissa > f32(Math.SQRT2)) {
		mantissa /= 2;
		exponent++;
	}
	const y = f32(mantissa - 1);
	const numerator = f32(horner(P, y) * y);
	return f32(exponent * LN2 + f32(numerator / horner(Q, y)));
}

function horner(coefficients: readonly number[], y: number): number {
	return coefficients.reduceRight((sum, c) => f32(sum * y + c), 0);
}
