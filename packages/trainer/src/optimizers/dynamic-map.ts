const { fround } = Math;

/** Codes of an 8-bit state. */
export const CODES: number = 256;
/** Decades of the dynamic map: from 1e-7 to 1. */
const DECADES = 7;

/**
 * The 256 values of the dynamic 8-bit type, ascending: seven decades up to 1, the higher ones divided finer, each part of a
 * decade stood for by its middle; 0 and 1 are there exactly. Signed: half as fine, both signs (there is no -1). Float32,
 * the bits of bitsandbytes' own (bitsandbytes-foundation/bitsandbytes functional.py `create_dynamic_map`).
 */
export function dynamicMap(signed: boolean): Float32Array {
	const values = [0, 1];
	for (let decade = 0; decade < DECADES; decade++) {
		const parts = signed ? 2 ** decade : 2 ** (decade + 1);
		const size = fround(10 ** (decade - DECADES + 1));
		const ends = torchLinspace(0.1, 1, parts + 1);
		for (let i = 0; i < parts; i++) {
			const middle = fround(fround((ends[i] as number) + (ends[i + 1] as number)) / 2);
			const value = fround(size * middle);
			values.push(value);
			if (signed) values.push(-value);
		}
	}
	return Float32Array.from(values).sort();
}

/** torch.linspace in float32 on a CPU that has fused multiply-add: counted from the nearer end. */
function torchLinspace(start: number, end: number, count: number): Float32Array {
	const [first, last] = [fround(start), fround(end)];
	const step = fround(fround(last - first) / (count - 1));
	return Float32Array.from({ length: count }, (_, i) =>
		i < Math.floor(count / 2) ? fround(step * i + first) : fround(last - step * (count - 1 - i)),
	);
}
