import { CODES } from './dynamic-map.js';

const { fround, abs } = Math;

/** Values that share a scale; also the last, shorter block of a tensor has one. */
export const BLOCK_SIZE: number = 256;
/** Least scale that a block is divided by (float32; below the least normal number). */
const LEAST_SCALE = fround(1e-38);

/** Blocks of that many values. */
export function blocksOf(count: number): number {
	return Math.ceil(count / BLOCK_SIZE);
}

/**
 * 8-bit numbers in blocks (bitsandbytes-foundation/bitsandbytes backends/default/ops.py `quantize_blockwise`): each value is
 * divided by the largest magnitude of its block, its absmax, and becomes the code of the nearest value of the map, of two
 * equally near ones the lower.
 */
export class BlockQuantizer {
	/** Value of each code, ascending. */
	readonly map: Float32Array;
	/** The values of one block: fill it, then `quantize`. */
	readonly block: Float32Array = new Float32Array(BLOCK_SIZE);
	/** The same memory as whole numbers. */
	readonly #bits: Uint32Array = new Uint32Array(this.block.buffer);
	/** Middles between neighbouring values; the last is never passed. */
	readonly #middles: Float32Array;
	/** A code at or below that of any float32 with these upper 16 bits. */
	readonly #starts: Uint8Array;

	/** @param map 256 values of -1 to 1, ascending */
	constructor(map: Float32Array) {
		this.map = map;
		this.#middles = Float32Array.from({ length: CODES }, (_, i) =>
			i + 1 < CODES ? fround(fround((map[i] as number) + (map[i + 1] as number)) / 2) : Number.POSITIVE_INFINITY,
		);
		this.#starts = this.#startTable();
	}

	/**
	 * Codes and absmax of the first `count` values of `block`, which are used up.
	 *
	 * @param count `BLOCK_SIZE`, or fewer in the last block of a tensor
	 * @param codes written at `at`, `count` of them
	 * @returns the absmax
	 */
	quantize(count: number, codes: Uint8Array, at: number): number {
		const { block } = this;
		const bits = this.#bits;
		const middles = this.#middles;
		const starts = this.#starts;
		let largest = 0;
		for (let i = 0; i < count; i++) {
			const size = abs(block[i] as number);
			if (size > largest) largest = size;
		}
		const scale = largest < LEAST_SCALE ? LEAST_SCALE : largest;
		// the last block is divided, the others are multiplied by the inverse: the rounding differs
		const whole = count === BLOCK_SIZE;
		const inverse = fround(1 / scale);
		for (let i = 0; i < count; i++) {
			const value = whole ? (block[i] as number) * inverse : (block[i] as number) / scale;
			block[i] = value > 1 ? 1 : value < -1 ? -1 : value;
		}
		for (let i = 0; i < count; i++) {
			const value = block[i] as number;
			let code = starts[(bits[i] as number) >>> 16] as number;
			while (value > (middles[code] as number)) code++;
			codes[at + i] = code;
		}
		return whole ? largest : scale;
	}

	/** For each value of the upper 16 bits of a float32, the code of the least number that has them. */
	#startTable(): Uint8Array {
		const starts = new Uint8Array(1 << 16);
		for (let upper = 0; upper < starts.length; upper++) {
			// of negative numbers the one with all lower bits set is the least
			this.#bits[0] = upper >= 1 << 15 ? upper * 65536 + 65535 : upper * 65536;
			const value = this.block[0] as number;
			let low = 0;
			let high = CODES - 1;
			while (low < high) {
				const middle = (low + high) >> 1;
				if (value > (this.#middles[middle] as number)) low = middle + 1;
				else high = middle;
			}
			starts[upper] = low;
		}
		return starts;
	}
}
