import { createSha256, FormatError } from '@lorakit/format';
import { createTorchGenerator, type TorchGenerator } from '@lorakit/runtime';
import { fromBase64, toBase64 } from './base64.js';

/**
 * What is drawn, each from a generator of its own: so that turning one kind of draw on or off leaves the others as they
 * were, and a resumed run goes on in each exactly where it stopped.
 */
export const STREAM_NAMES = ['order', 'captions', 'augment', 'latents', 'noise', 'timesteps', 'dropout'] as const;
export type StreamName = (typeof STREAM_NAMES)[number];

/** The generators of a run. */
export type RandomStreams = Readonly<Record<StreamName, TorchGenerator>>;

/** `TorchGenerator.state()` of each, in base64. */
export type RandomStreamsState = Readonly<Record<StreamName, string>>;

/** The generators of a seed. */
export function createRandomStreams(seed: number): RandomStreams {
	return Object.fromEntries(STREAM_NAMES.map((name) => [name, createTorchGenerator(streamSeed(seed, name))])) as unknown as RandomStreams;
}

/**
 * The seed of a named generator: the first 32 bits of the SHA-256 of `SEED/NAME` (torch lets no more than 32 bits of a
 * seed reach the generator). Neighbouring seeds and names so have unrelated streams.
 */
export function streamSeed(seed: number, name: string): number {
	const hash = createSha256();
	hash.update(new TextEncoder().encode(`${seed}/${name}`));
	return Number.parseInt(hash.digestHex().slice(0, 8), 16);
}

export function streamsState(streams: RandomStreams): RandomStreamsState {
	return Object.fromEntries(STREAM_NAMES.map((name) => [name, toBase64(streams[name].state())])) as unknown as RandomStreamsState;
}

/** @throws {FormatError} `E_FORMAT`: not the state of these generators */
export function restoreStreams(streams: RandomStreams, state: unknown): void {
	const entries = typeof state === 'object' && state !== null ? (state as Readonly<Record<string, unknown>>) : {};
	for (const name of STREAM_NAMES) {
		const text = entries[name];
		if (typeof text !== 'string') throw new FormatError('E_FORMAT', `The saved state has no random generator "${name}".`);
		streams[name].restore(fromBase64(text, `The state of the random generator "${name}"`));
	}
}
