/** Words of state, and the distance of the two that are mixed. Source: Matsumoto & Nishimura 1998, MT19937. */
export const STATE_WORDS: number = 624;
const MIXED_WORD = 397;

/**
 * State of MT19937, as torch counts it (pytorch aten/src/ATen/core/MT19937RNGEngine.h): `next` is the index of the
 * next word to hand out, `left` how many calls remain until the whole state is renewed, plus one.
 */
export interface MersenneTwisterState {
	readonly words: Uint32Array;
	readonly next: number;
	readonly left: number;
}

/** The 32-bit generator under torch's CPU random numbers. A class because it is a moving state. */
export class MersenneTwister {
	readonly #words: Uint32Array;
	#next: number;
	#left: number;

	constructor(state: MersenneTwisterState) {
		this.#words = state.words.slice();
		this.#next = state.next;
		this.#left = state.left;
	}

	/** The next word, 0 to 2^32 - 1. */
	next(): number {
		if (--this.#left === 0) this.#renew();
		let y = this.#words[this.#next++] ?? 0;
		y ^= y >>> 11;
		y ^= (y << 7) & 0x9d2c5680;
		y ^= (y << 15) & 0xefc60000;
		return (y ^ (y >>> 18)) >>> 0;
	}

	/** A copy of the state. */
	state(): MersenneTwisterState {
		return { words: this.#words.slice(), next: this.#next, left: this.#left };
	}

	#renew(): void {
		const words = this.#words;
		this.#left = STATE_WORDS;
		this.#next = 0;
		for (let i = 0; i < STATE_WORDS; i++) {
			const upper = words[i] ?? 0;
			const lower = words[(i + 1) % STATE_WORDS] ?? 0;
			const mixed = ((upper & 0x80000000) | (lower & 0x7fffffff)) >>> 1;
			words[i] = (words[(i + MIXED_WORD) % STATE_WORDS] ?? 0) ^ mixed ^ (lower & 1 ? 0x9908b0df : 0);
		}
	}
}

/** The state that a seed gives. Torch keeps a 64-bit seed, but only its low 32 bits reach the state. */
export function seedState(seed: bigint): MersenneTwisterState {
	const words = new Uint32Array(STATE_WORDS);
	let last = Number(seed & 0xffffffffn);
	words[0] = last;
	for (let i = 1; i < STATE_WORDS; i++) {
		last = (Math.imul(1812433253, last ^ (last >>> 30)) + i) >>> 0;
		words[i] = last;
	}
	return { words, next: 0, left: 1 };
}
