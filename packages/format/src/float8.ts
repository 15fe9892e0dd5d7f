/** The 8-bit float types of safetensors (and of OCP OFP8 / MX and AMD's FNUZ). */
export type Float8 = 'F8_E4M3' | 'F8_E5M2' | 'F8_E4M3FNUZ' | 'F8_E5M2FNUZ' | 'F8_E8M0';

interface Float8Form {
	readonly mantissaBits: number;
	readonly bias: number;
	/** `ieee`: top exponent is Inf and NaN. `fn`: only all ones is NaN, no Inf. `fnuz`: 0x80 is NaN, no Inf, no -0. */
	readonly special: 'ieee' | 'fn' | 'fnuz';
}

const FORMS: ReadonlyMap<Float8, Float8Form> = new Map<Float8, Float8Form>([
	['F8_E4M3', { mantissaBits: 3, bias: 7, special: 'fn' }],
	['F8_E5M2', { mantissaBits: 2, bias: 15, special: 'ieee' }],
	['F8_E4M3FNUZ', { mantissaBits: 3, bias: 8, special: 'fnuz' }],
	['F8_E5M2FNUZ', { mantissaBits: 2, bias: 16, special: 'fnuz' }],
]);

const TABLES = new Map<Float8, Float32Array>();

/** Value of one 8-bit float, exact (every one is a float32). */
export function f8ToF32(dtype: Float8, bits: number): number {
	return f8Table(dtype)[bits & 0xff] ?? Number.NaN;
}

/** All 256 values of a type, by bit pattern. The caller must not change it. */
export function f8Table(dtype: Float8): Float32Array {
	let table = TABLES.get(dtype);
	if (table === undefined) {
		const form = FORMS.get(dtype);
		table = Float32Array.from({ length: 256 }, (_, bits) => (form === undefined ? e8m0(bits) : decode(form, bits)));
		TABLES.set(dtype, table);
	}
	return table;
}

function decode({ mantissaBits, bias, special }: Float8Form, bits: number): number {
	const sign = bits >= 0x80 ? -1 : 1;
	const magnitude = bits & 0x7f;
	const exponent = magnitude >> mantissaBits;
	const one = 1 << mantissaBits;
	const mantissa = magnitude & (one - 1);
	if (special === 'fnuz' && bits === 0x80) return Number.NaN;
	if (special === 'fn' && magnitude === 0x7f) return Number.NaN;
	if (special === 'ieee' && exponent === 0x7f >> mantissaBits) return mantissa === 0 ? sign * Number.POSITIVE_INFINITY : Number.NaN;
	if (exponent === 0) return sign * mantissa * powerOfTwo(1 - bias - mantissaBits);
	return sign * (one + mantissa) * powerOfTwo(exponent - bias - mantissaBits);
}

/** An exponent alone: 2^(bits - 127); 255 is NaN. */
function e8m0(bits: number): number {
	return bits === 0xff ? Number.NaN : powerOfTwo(bits - 127);
}

/** By doubling and halving: `Math.pow` may be off by an ulp in some engines. */
function powerOfTwo(exponent: number): number {
	let value = 1;
	for (let i = 0; i < exponent; i++) value *= 2;
	for (let i = 0; i > exponent; i--) value /= 2;
	return value;
}
