import { createHash } from 'node:crypto';

/**
 * The sha256 of a delta in float32 is that of *some* float64 evaluation: sums in another order differ in the last bits,
 * and where a value lies on the edge between two float32 numbers, in which it becomes. Every way to round the few values
 * that close to an edge (1e-14 of the largest) is admissible; nothing else is.
 *
 * @param {Float64Array} data
 * @param {string} expected
 */
export function matchesF32Sha(data, expected) {
	const hash = (bytes) => createHash('sha256').update(bytes).digest('hex');
	const floats = Float32Array.from(data);
	const bytes = new Uint8Array(floats.buffer);
	if (hash(bytes) === expected) return true;
	let largest = 0;
	for (const x of data) largest = Math.max(largest, Math.abs(x));
	const margin = largest * 1e-14;
	const open = [];
	data.forEach((x, i) => {
		const [low, high] = [Math.fround(x - margin), Math.fround(x + margin)];
		if (low !== high) open.push({ i, choices: [low, high] });
	});
	if (open.length === 0 || open.length > 12) return false;
	for (let mask = 0; mask < 2 ** open.length; mask++) {
		open.forEach(({ i, choices }, bit) => {
			floats[i] = choices[(mask >> bit) & 1];
		});
		if (hash(bytes) === expected) return true;
	}
	return false;
}

/** Largest difference to float32 numbers that were rounded from float64, in units of what that rounding can explain. @param {Float64Array} data @param {Float32Array | Float64Array} stored */
export function worstAgainstF32(data, stored) {
	let largest = 0;
	for (const x of data) largest = Math.max(largest, Math.abs(x));
	let wrong = 0;
	data.forEach((x, i) => {
		const s = stored[i] ?? Number.NaN;
		if (s !== Math.fround(x) && s !== Math.fround(x - largest * 1e-14) && s !== Math.fround(x + largest * 1e-14)) wrong++;
	});
	return wrong;
}

/** @param {Float64Array} data */
export function statistics(data) {
	let absmax = 0;
	let squares = 0;
	for (const x of data) {
		absmax = Math.max(absmax, Math.abs(x));
		squares += x * x;
	}
	return { absmax, fro: Math.sqrt(squares) };
}
