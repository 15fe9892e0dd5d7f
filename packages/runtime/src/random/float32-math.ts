/**
 * Logarithm, sine and cosine in float32, in exactly the operations that torch's CPU kernel for normal numbers does
 * (pytorch aten/src/ATen/native/cpu/avx_mathfun.h, which takes the coefficients of Cephes' logf and sinf/cosf), so
 * that a seed gives torch's numbers to the last bit. The compiler of torch's wheels contracts `a * b + c` into one
 * fused operation there; where it does was derived from the source's order of statements and is proved by the
 * recorded hashes (scripts/parity/runtime-random.mjs), which hold for AVX2 and AVX-512 machines.
 */

const f = Math.fround;

/** `a * b + c` rounded once to float32. All three are float32 values. */
export function fma32(a: number, b: number, c: number): number {
	// The product of two float32 is exact in a double; only the sum may be inexact.
	const product = a * b;
	const sum = product + c;
	const rounded = f(sum);
	const off = sum - rounded;
	if (off === 0) return rounded;
	const other = rounded + 2 * off;
	// A double sum that is itself inexact and lies midway between two float32 must round to its true side.
	if (f(other) !== other) return rounded;
	const back = sum - product;
	const lost = product - (sum - back) + (c - back);
	if (lost === 0) return rounded;
	return lost > 0 ? Math.max(rounded, other) : Math.min(rounded, other);
}

const SQRT_HALF = f(Math.SQRT1_2);
const LOG = [
	7.0376836292e-2, -1.151461031e-1, 1.167699874e-1, -1.2420140846e-1, 1.4249322787e-1, -1.6668057665e-1, 2.0000714765e-1, -2.4999993993e-1,
	3.3333331174e-1,
].map(f);
const LOG_2_LOW = f(-2.1219444e-4);
const LOG_2_HIGH = f(0.693359375);

const bits = new DataView(new ArrayBuffer(4));

/** Natural logarithm of a float32 in (0, 1], as torch's kernel has it. */
export function log32(value: number): number {
	bits.setFloat32(0, value);
	const pattern = bits.getUint32(0);
	// value = x * 2^exponent with x in [0.5, 1)
	let exponent = (pattern >>> 23) - 126;
	bits.setUint32(0, (pattern & 0x007fffff) | 0x3f000000);
	let x = bits.getFloat32(0);
	if (x < SQRT_HALF) {
		exponent -= 1;
		x = f(f(x - 1) + x);
	} else {
		x = f(x - 1);
	}
	const square = f(x * x);
	let y = LOG[0] ?? 0;
	for (let i = 1; i < LOG.length; i++) y = fma32(y, x, LOG[i] ?? 0);
	y = fma32(f(y * x), square, f(exponent * LOG_2_LOW));
	y = fma32(-0.5, square, y);
	return fma32(exponent, LOG_2_HIGH, f(x + y));
}

const FOUR_OVER_PI = f(1.27323954473516);
/** pi / 4 in three parts, taken off one after the other. */
const QUARTER_PI = [-0.78515625, -2.4187564849853516e-4, -3.774894977445941e-8].map(f);
const SIN = [-1.9515295891e-4, 8.3321608736e-3, -1.6666654611e-1].map(f);
const COS = [2.443315711809948e-5, -1.388731625493765e-3, 4.166664568298827e-2].map(f);

/** Sine and cosine of a float32 in [0, 8192), as torch's kernel has them. Writes [sin, cos] into `out`. */
export function sinCos32(angle: number, out: Float32Array | Float64Array): void {
	const octant = (Math.trunc(f(angle * FOUR_OVER_PI)) + 1) & ~1;
	let x = angle;
	for (const part of QUARTER_PI) x = fma32(octant, part, x);
	const square = f(x * x);
	const cosTail = fma32(fma32(COS[0] ?? 0, square, COS[1] ?? 0), square, COS[2] ?? 0);
	const cos = f(fma32(f(cosTail * square), square, -f(square * 0.5)) + 1);
	const sinTail = fma32(fma32(SIN[0] ?? 0, square, SIN[1] ?? 0), square, SIN[2] ?? 0);
	const sin = fma32(f(sinTail * square), x, x);
	const swapped = (octant & 2) !== 0;
	const negativeSin = (octant & 4) !== 0;
	const negativeCos = ((octant - 2) & 4) === 0;
	const sine = swapped ? cos : sin;
	const cosine = swapped ? sin : cos;
	out[0] = negativeSin ? -sine : sine;
	out[1] = negativeCos ? -cosine : cosine;
}
