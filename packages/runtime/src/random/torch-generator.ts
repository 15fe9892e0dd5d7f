import { FormatError } from '@lorakit/format';
import { NORMAL_BLOCK, normalBlock32, normalBlock64, normalPair } from './box-muller.js';
import { decodeState, encodeState, type GeneratorState } from './generator-state.js';
import { MersenneTwister, seedState } from './mersenne-twister.js';
import { roundBf16, roundF16 } from './round-half.js';

/** Most numbers that one call draws: latents of a batch are some millions. */
export const MAX_DRAW: number = 2 ** 28;
const LOWEST_SEED = -(2n ** 63n);
const HIGHEST_SEED = 2n ** 64n - 1n;
/** Ranges from here up take 64 bits a number (torch 2.13; aten/src/ATen/core/DistributionsHelper.h). */
const WIDE_RANGE = 2n ** 28n;

/**
 * Torch's CPU generator: `torch.Generator().manual_seed(seed)` and the draws that take `generator=`, in the same
 * order and with the same numbers (torch 2.13). All are equal to the last bit but float64 normals, which are as exact
 * as the machine's log, sin and cos. On a CPU without AVX2 torch itself gives other last bits for `randn`.
 */
export interface TorchGenerator {
	/** The seed as torch keeps it: 0 to 2^64 - 1. */
	readonly seed: bigint;
	/** Raw words of the Mersenne Twister. */
	words(count: number): Uint32Array;
	/** `torch.rand(count)`: float32 in [0, 1). */
	rand(count: number): Float32Array;
	/** `torch.rand(count, dtype=torch.float64)`. */
	rand64(count: number): Float64Array;
	/**
	 * `torch.randn(count)`: float32. Fewer than 16 come pairwise from 53-bit uniforms, and the second of a pair is
	 * kept for the next such call; 16 or more come from 24-bit uniforms in blocks of 16, and where the count is no
	 * multiple of 16 the last 16 are drawn again. So `count` must be that of the whole tensor.
	 */
	randn(count: number): Float32Array;
	/** `torch.randn(count, dtype=torch.float64)`: another stream than float32 from 16 values up. */
	randn64(count: number): Float64Array;
	/** `torch.randn(count, dtype=torch.float16)`, the values as float32. The last incomplete block is drawn otherwise than in float32. */
	randnF16(count: number): Float32Array;
	/** `torch.randn(count, dtype=torch.bfloat16)`, the values as float32. */
	randnBf16(count: number): Float32Array;
	/** `torch.randint(low, high, (count,))` for bounds within int32; `high` is not drawn. */
	randint(low: number, high: number, count: number): Int32Array;
	/** `torch.randint(low, high, (count,))` for any int64 bounds. */
	randint64(low: bigint, high: bigint, count: number): BigInt64Array;
	/** `torch.randperm(n)`. */
	randperm(n: number): Int32Array;
	/** What decides all further draws, as the bytes of torch's `get_state()`. */
	state(): Uint8Array;
	/** Go on from a saved state, ours or torch's. @throws {FormatError} `E_FORMAT` when the bytes are none. */
	restore(state: Uint8Array): void;
	/** A generator that will draw the same from here on, independently. */
	clone(): TorchGenerator;
}

/**
 * @param seed -2^63 to 2^64 - 1, as torch takes it (a negative one counts from 2^64 down); a number must be a safe integer.
 * @throws {FormatError} `E_USAGE` for another seed. The generator's methods throw `E_USAGE` for a count or range that
 *   is none, `E_LIMIT` for more than MAX_DRAW numbers.
 */
export function createTorchGenerator(seed: number | bigint): TorchGenerator {
	const wide = typeof seed === 'bigint' ? seed : Number.isSafeInteger(seed) ? BigInt(seed) : undefined;
	if (wide === undefined || wide < LOWEST_SEED || wide > HIGHEST_SEED) {
		throw new FormatError('E_USAGE', `${seed} is no seed; give a whole number from -2^63 to 2^64 - 1.`);
	}
	const kept = BigInt.asUintN(64, wide);
	return new CpuGenerator({ seed: kept, twister: seedState(kept), cachedNormal: undefined });
}

class CpuGenerator implements TorchGenerator {
	#seed: bigint;
	#twister: MersenneTwister;
	#cachedNormal: number | undefined;

	constructor(state: GeneratorState) {
		this.#seed = state.seed;
		this.#twister = new MersenneTwister(state.twister);
		this.#cachedNormal = state.cachedNormal;
	}

	get seed(): bigint {
		return this.#seed;
	}

	words(count: number): Uint32Array {
		const out = new Uint32Array(checkCount(count));
		for (let i = 0; i < count; i++) out[i] = this.#twister.next();
		return out;
	}

	rand(count: number): Float32Array {
		const out = new Float32Array(checkCount(count));
		for (let i = 0; i < count; i++) out[i] = this.#uniform24();
		return out;
	}

	rand64(count: number): Float64Array {
		const out = new Float64Array(checkCount(count));
		for (let i = 0; i < count; i++) out[i] = this.#uniform53();
		return out;
	}

	randn(count: number): Float32Array {
		if (checkCount(count) < NORMAL_BLOCK) return Float32Array.from(this.#pairwise(count));
		const out = this.rand(count);
		for (let i = 0; i + NORMAL_BLOCK <= count; i += NORMAL_BLOCK) normalBlock32(out, i);
		if (count % NORMAL_BLOCK !== 0) {
			out.set(this.rand(NORMAL_BLOCK), count - NORMAL_BLOCK);
			normalBlock32(out, count - NORMAL_BLOCK);
		}
		return out;
	}

	randn64(count: number): Float64Array {
		if (checkCount(count) < NORMAL_BLOCK) return this.#pairwise(count);
		const out = this.rand64(count);
		for (let i = 0; i + NORMAL_BLOCK <= count; i += NORMAL_BLOCK) normalBlock64(out, i);
		if (count % NORMAL_BLOCK !== 0) {
			out.set(this.rand64(NORMAL_BLOCK), count - NORMAL_BLOCK);
			normalBlock64(out, count - NORMAL_BLOCK);
		}
		return out;
	}

	randnF16(count: number): Float32Array {
		return this.#reduced(count, roundF16);
	}

	randnBf16(count: number): Float32Array {
		return this.#reduced(count, roundBf16);
	}

	randint(low: number, high: number, count: number): Int32Array {
		if (!Number.isInteger(low) || !Number.isInteger(high) || low >= high || low < -(2 ** 31) || high > 2 ** 31) {
			throw new FormatError('E_USAGE', `randint from ${low} up to ${high}: give whole numbers of 32 bits, the first the smaller.`);
		}
		const out = new Int32Array(checkCount(count));
		const range = high - low;
		if (BigInt(range) >= WIDE_RANGE) {
			const wide = BigInt(range);
			for (let i = 0; i < count; i++) out[i] = Number(this.#word64() % wide) + low;
		} else {
			for (let i = 0; i < count; i++) out[i] = (this.#twister.next() % range) + low;
		}
		return out;
	}

	randint64(low: bigint, high: bigint, count: number): BigInt64Array {
		if (low >= high || low < LOWEST_SEED || high > 2n ** 63n - 1n) {
			throw new FormatError('E_USAGE', `randint from ${low} up to ${high}: give whole numbers of 64 bits, the first the smaller.`);
		}
		const out = new BigInt64Array(checkCount(count));
		const range = high - low;
		for (let i = 0; i < count; i++) {
			out[i] = ((range >= WIDE_RANGE ? this.#word64() : BigInt(this.#twister.next())) % range) + low;
		}
		return out;
	}

	randperm(n: number): Int32Array {
		const out = Int32Array.from({ length: checkCount(n) }, (_, i) => i);
		for (let i = 0; i < n - 1; i++) {
			const other = i + (this.#twister.next() % (n - i));
			const kept = out[i] ?? 0;
			out[i] = out[other] ?? 0;
			out[other] = kept;
		}
		return out;
	}

	state(): Uint8Array {
		return encodeState(this.#snapshot());
	}

	restore(bytes: Uint8Array): void {
		const state = decodeState(bytes);
		this.#seed = state.seed;
		this.#twister = new MersenneTwister(state.twister);
		this.#cachedNormal = state.cachedNormal;
	}

	clone(): TorchGenerator {
		return new CpuGenerator(this.#snapshot());
	}

	#snapshot(): GeneratorState {
		return { seed: this.#seed, twister: this.#twister.state(), cachedNormal: this.#cachedNormal };
	}

	#uniform24(): number {
		return (this.#twister.next() & 0xffffff) * 2 ** -24;
	}

	/** Low 53 bits of two words, the first being the upper. */
	#uniform53(): number {
		const upper = this.#twister.next() & 0x1fffff;
		return (upper * 2 ** 32 + this.#twister.next()) * 2 ** -53;
	}

	#word64(): bigint {
		const upper = BigInt(this.#twister.next());
		return (upper << 32n) | BigInt(this.#twister.next());
	}

	#pairwise(count: number): Float64Array {
		const out = new Float64Array(count);
		for (let i = 0; i < count; i++) {
			if (this.#cachedNormal !== undefined) {
				out[i] = this.#cachedNormal;
				this.#cachedNormal = undefined;
				continue;
			}
			const first = this.#uniform53();
			const [now, later] = normalPair(first, this.#uniform53());
			out[i] = now;
			this.#cachedNormal = later;
		}
		return out;
	}

	/** 16-bit types are made of float32 blocks; an incomplete one at the end is a whole further block over the last 16 places. */
	#reduced(count: number, round: (value: number) => number): Float32Array {
		if (checkCount(count) < NORMAL_BLOCK) return Float32Array.from(this.#pairwise(count), round);
		const out = new Float32Array(count);
		for (let i = 0; i < count; i += NORMAL_BLOCK) {
			const block = this.rand(NORMAL_BLOCK);
			normalBlock32(block, 0);
			out.set(block.map(round), Math.min(i, count - NORMAL_BLOCK));
		}
		return out;
	}
}

function checkCount(count: number): number {
	if (!Number.isInteger(count) || count < 0) throw new FormatError('E_USAGE', `${count} is no number of random numbers to draw.`);
	if (count > MAX_DRAW) throw new FormatError('E_LIMIT', `${count} random numbers are more than the ${MAX_DRAW} that one call draws.`);
	return count;
}
