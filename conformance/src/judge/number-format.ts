import type { Precision } from '../suite/case.js';

/** Significant bits (hidden one counted) and exponent of the smallest normal number. */
interface NumberFormat {
	readonly bits: number;
	readonly minExponent: number;
	/** Largest finite number. */
	readonly max: number;
}

const FORMATS: Readonly<Record<Precision, NumberFormat>> = {
	f32: { bits: 24, minExponent: -126, max: 3.4028234663852886e38 },
	f16: { bits: 11, minExponent: -14, max: 65504 },
	bf16: { bits: 8, minExponent: -126, max: 3.3895313892515355e38 },
};

/** Unit roundoff: half the distance from 1 to the next number. */
export function unitRoundoff(precision: Precision): number {
	return 2 ** -FORMATS[precision].bits;
}

const scratch = new Float64Array(1);
const words = new Uint32Array(scratch.buffer);

/** floor(log2 |x|) of a finite double that is not 0. */
function exponentOf(x: number): number {
	scratch[0] = x;
	const biased = ((words[1] ?? 0) >>> 20) & 0x7ff;
	return biased === 0 ? Math.floor(Math.log2(Math.abs(x))) : biased - 1023;
}

/** Distance between neighbours of the format at |x|. */
export function ulpOf(precision: Precision, x: number): number {
	const { bits, minExponent } = FORMATS[precision];
	const exponent = x === 0 || !Number.isFinite(x) ? minExponent : Math.max(exponentOf(x), minExponent);
	return 2 ** (exponent - bits + 1);
}

/** The number of the format nearest to a double, ties to even; too large becomes Infinity. */
export function roundTo(precision: Precision, x: number): number {
	if (precision === 'f32') return Math.fround(x);
	if (x === 0 || !Number.isFinite(x)) return x;
	const unit = ulpOf(precision, x);
	// Adding and taking away 2^52 rounds to an integer, ties to even. On the magnitude: a result of zero keeps its sign.
	const magic = 4503599627370496;
	const size = (Math.abs(x) / unit + magic - magic) * unit;
	const rounded = x < 0 ? -size : size;
	return size > FORMATS[precision].max ? Math.sign(x) * Number.POSITIVE_INFINITY : rounded;
}
