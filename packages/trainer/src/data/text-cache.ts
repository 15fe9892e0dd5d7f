import type { TextStates } from '@lorakit/runtime';
import { asFloats, type CachedTensors, createCachedSource, isFloats, type TensorCache } from './cache-tensors.js';

/** Gives the states of texts: of one text encoder, or of each of SDXL's two. */
export interface TextSource {
	/**
	 * @param key `textKey` of the ids
	 * @param ids (1, tokens) for each text encoder
	 * @returns (1, tokens, hidden) states and pooled output of each
	 * @throws {FormatError} those of encoding and of the cache
	 */
	states(key: string, ids: readonly Int32Array[]): Promise<readonly TextStates[]>;
}

/**
 * States of texts through a cache. Only for text encoders that are not trained: an adapter over one, or a learned token, is in
 * no key.
 * @param encode `StableDiffusion.encodeIds`, or `encodeText` over a text encoder
 */
export function createTextSource(options: {
	readonly cache?: TensorCache | undefined;
	readonly encode: (ids: readonly Int32Array[]) => Promise<readonly TextStates[]>;
}): TextSource {
	const source = createCachedSource(options.cache);
	return {
		async states(key, ids) {
			const found = await source.get(
				key,
				(tensors) => statesOf(tensors) !== undefined,
				async () => {
					const tensors: Record<string, CachedTensors[string]> = {};
					for (const [i, { states, pooled }] of (await options.encode(ids)).entries()) {
						tensors[`${i}.states`] = asFloats(states);
						tensors[`${i}.pooled`] = asFloats(pooled);
					}
					return tensors;
				},
			);
			const states = statesOf(found);
			if (states === undefined) throw new TypeError('a text encoder without states');
			return states;
		},
	};
}

/** Undefined for tensors that are no states. */
function statesOf(tensors: CachedTensors): readonly TextStates[] | undefined {
	const count = Object.keys(tensors).length / 2;
	if (!Number.isInteger(count) || count === 0) return undefined;
	const out: TextStates[] = [];
	for (let i = 0; i < count; i++) {
		const [states, pooled] = [tensors[`${i}.states`], tensors[`${i}.pooled`]];
		if (!isFloats(states, 3) || !isFloats(pooled, 2)) return undefined;
		out.push({ states, pooled });
	}
	return out;
}
