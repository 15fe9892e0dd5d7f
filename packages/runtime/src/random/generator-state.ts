import { FormatError } from '@lorakit/format';
import { type MersenneTwisterState, STATE_WORDS } from './mersenne-twister.js';

/** Everything that decides what a generator draws next. */
export interface GeneratorState {
	readonly seed: bigint;
	readonly twister: MersenneTwisterState;
	/** The second normal of the last pair, while nobody took it. */
	readonly cachedNormal: number | undefined;
}

/**
 * Bytes of a saved state. It is the form of torch's own `Generator.get_state()`, little-endian
 * (pytorch aten/src/ATen/CPUGeneratorImpl.cpp, CPUGeneratorImplState), so that a state saved here goes on in torch
 * and the other way round: u64 seed, i32 left, i32 seeded, u64 next, 624 x u64 words, f64 unused, f64 cached normal,
 * f64 unused, i32 whether it is cached, padding, f32 and u8 of a float cache that CPU generators do not use, padding.
 */
const STATE_BYTES = 5056;
const AT = { seed: 0, left: 8, seeded: 12, next: 16, words: 24, normal: 5024, cached: 5040 } as const;

/** The bytes of a state. */
export function encodeState(state: GeneratorState): Uint8Array {
	const bytes = new Uint8Array(STATE_BYTES);
	const view = new DataView(bytes.buffer);
	view.setBigUint64(AT.seed, state.seed, true);
	view.setInt32(AT.left, state.twister.left, true);
	view.setInt32(AT.seeded, 1, true);
	view.setBigUint64(AT.next, BigInt(state.twister.next), true);
	state.twister.words.forEach((word, i) => {
		view.setUint32(AT.words + 8 * i, word, true);
	});
	if (state.cachedNormal !== undefined) {
		view.setFloat64(AT.normal, state.cachedNormal, true);
		view.setInt32(AT.cached, 1, true);
	}
	return bytes;
}

/** The state of some bytes. @throws {FormatError} `E_FORMAT` when they are no state of a CPU generator. */
export function decodeState(bytes: Uint8Array): GeneratorState {
	if (bytes.byteLength !== STATE_BYTES) {
		fail(`has ${bytes.byteLength} bytes where a torch CPU generator's state has ${STATE_BYTES}`);
	}
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const left = view.getInt32(AT.left, true);
	const next = Number(view.getBigUint64(AT.next, true));
	const words = new Uint32Array(STATE_WORDS);
	for (let i = 0; i < STATE_WORDS; i++) words[i] = view.getUint32(AT.words + 8 * i, true);
	if (view.getInt32(AT.seeded, true) !== 1) fail('says that its generator was never seeded');
	// Fresh from a seed no word is handed out and one call is left; later the two count the same words.
	const fresh = left === 1 && next === 0;
	if (!fresh && !(next >= 1 && next <= STATE_WORDS && left + next === STATE_WORDS + 1)) {
		fail(`has ${left} words left but the next is word ${next} of ${STATE_WORDS}`);
	}
	if (words.every((word) => word === 0)) fail('has nothing but zeros for words');
	const cached = view.getInt32(AT.cached, true);
	const normal = view.getFloat64(AT.normal, true);
	if ((cached !== 0 && cached !== 1) || (cached === 1 && !Number.isFinite(normal))) fail('has a cached normal number that is none');
	return {
		seed: view.getBigUint64(AT.seed, true),
		twister: { words, next, left },
		cachedNormal: cached === 1 ? normal : undefined,
	};
}

function fail(what: string): never {
	throw new FormatError('E_FORMAT', `This random generator state ${what}; pass the bytes that state() or torch's get_state() gave.`);
}
