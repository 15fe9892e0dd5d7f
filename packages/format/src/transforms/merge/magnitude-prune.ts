/**
 * The `density` largest values by magnitude, the rest 0: k = floor(density n) as PEFT counts (peft/utils/merge_utils.py
 * magnitude_based_pruning, PEFT 0.21). Equal magnitudes at the border: those that come first are kept (torch does not say).
 * From a density of 1 on nothing is pruned.
 */
export function magnitudePruned(values: Float64Array, density: number): Float64Array {
	const n = values.length;
	if (density >= 1) return values;
	const keep = Math.floor(density * n);
	const out = new Float64Array(n);
	if (keep <= 0) return out;
	const sizes = new Float64Array(n);
	for (let i = 0; i < n; i++) sizes[i] = Math.abs(values[i] as number);
	const border = nthLargest(sizes, keep);
	let above = 0;
	for (let i = 0; i < n; i++) if ((sizes[i] as number) > border) above++;
	let atBorder = keep - above;
	for (let i = 0; i < n; i++) {
		const x = values[i] as number;
		const size = sizes[i] as number;
		if (size > border) out[i] = x;
		else if (size === border && atBorder > 0) {
			out[i] = x;
			atBorder--;
		}
	}
	return out;
}

/** Below this many numbers sorting is quick enough. */
const FEW = 8192;
/** Bits of a double that are not looked at when it is put into a bin: sign, exponent and 8 bits of mantissa are left. */
const BIN_SHIFT = 12;
const HIGH_WORD = new Uint8Array(Uint16Array.of(1).buffer)[0] === 1 ? 1 : 0;

/** The n-th largest of numbers that are not negative (1 is the largest): their bits have their order, so bins of bits narrow it down. */
function nthLargest(sizes: Float64Array, n: number): number {
	if (sizes.length < FEW) return sizes.slice().sort()[sizes.length - n] ?? 0;
	const words = new Uint32Array(sizes.buffer, sizes.byteOffset, 2 * sizes.length);
	const counts = new Uint32Array(2 ** (32 - BIN_SHIFT));
	for (let i = HIGH_WORD; i < words.length; i += 2) {
		const bin = (words[i] as number) >>> BIN_SHIFT;
		counts[bin] = (counts[bin] as number) + 1;
	}
	let bin = counts.length - 1;
	let above = 0;
	while (bin > 0 && above + (counts[bin] as number) < n) above += counts[bin--] as number;
	const members = new Float64Array(counts[bin] as number);
	let found = 0;
	for (let i = 0; i < sizes.length; i++)
		if ((words[2 * i + HIGH_WORD] as number) >>> BIN_SHIFT === bin) members[found++] = sizes[i] as number;
	return members.sort()[members.length - (n - above)] ?? 0;
}
