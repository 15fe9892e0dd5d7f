const scratch = new Float32Array(1);
const pattern = new Uint32Array(scratch.buffer);

/** The binary16 number nearest to a finite value below 65520 in size, ties to even; one rounding. */
export function roundF16(value: number): number {
	const size = Math.abs(value);
	// Spacing of binary16 at this size: 10 bits below the leading one, 2^-24 at the least.
	const step = 2 ** Math.max(exponentOf(size) - 10, -24);
	return Math.sign(value) * roundToEven(size / step) * step;
}

/** The bfloat16 number nearest to a finite value, ties to even; one rounding. */
export function roundBf16(value: number): number {
	const size = Math.abs(value);
	const step = 2 ** (exponentOf(size) - 7);
	return Math.sign(value) * roundToEven(size / step) * step;
}

/** floor(log2(size)) for sizes that float32 holds as normal numbers; a rounding up to a power of two keeps its value, so it does no harm. */
function exponentOf(size: number): number {
	scratch[0] = size;
	return ((pattern[0] ?? 0) >>> 23) - 127;
}

function roundToEven(value: number): number {
	const below = Math.floor(value);
	const rest = value - below;
	return rest > 0.5 || (rest === 0.5 && below % 2 === 1) ? below + 1 : below;
}
