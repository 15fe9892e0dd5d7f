/**
 * A reproducible source of numbers in [0, 1): xoshiro128** over a state that is FNV-1a of the key, spread by splitmix32.
 * The same key gives the same numbers on every machine and in every version; keys that differ in one character give
 * unrelated ones. Not for secrets.
 *
 * Sources: Blackman and Vigna, "Scrambled linear pseudorandom number generators" (2021); Fowler, Noll and Vo.
 *
 * @returns a function that gives the next number: a multiple of 2^-53
 */
export function createRandom(key: string): () => number {
	let hash = 0x811c9dc5;
	for (const byte of new TextEncoder().encode(key)) hash = Math.imul(hash ^ byte, 0x01000193);
	let seed = hash >>> 0;
	const splitmix = (): number => {
		seed = (seed + 0x9e3779b9) >>> 0;
		let z = seed;
		z = Math.imul(z ^ (z >>> 16), 0x85ebca6b);
		z = Math.imul(z ^ (z >>> 13), 0xc2b2ae35);
		return (z ^ (z >>> 16)) >>> 0;
	};
	// The length in the state too: 32 bits of hash alone would let long keys meet.
	let a = splitmix();
	let b = splitmix();
	let c = splitmix() ^ key.length;
	let d = splitmix() | 1;
	const next = (): number => {
		const result = Math.imul(rotated(Math.imul(b, 5), 7), 9) >>> 0;
		const t = b << 9;
		c ^= a;
		d ^= b;
		b ^= c;
		a ^= d;
		c ^= t;
		d = rotated(d, 11);
		return result;
	};
	return () => (next() * 2 ** 21 + (next() >>> 11)) / 2 ** 53;
}

function rotated(x: number, by: number): number {
	return (x << by) | (x >>> (32 - by));
}
