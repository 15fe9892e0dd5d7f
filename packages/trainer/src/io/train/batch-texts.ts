import { FormatError, type Tensor } from '@lorakit/format';
import { createNodeSha256 } from '@lorakit/format/node';
import {
	type Base,
	type ClipTokenizer,
	conditioningOf,
	conditionOn,
	createComponent,
	type Engine,
	encodeText,
	type HostTensor,
	type TextStates,
} from '@lorakit/runtime';
import { textKey, weightsIdentity } from '../../data/cache-key.js';
import { createMemoryCache, type TensorCache } from '../../data/cache-tensors.js';
import { stacked } from '../../data/stacked.js';
import { createTextSource } from '../../data/text-cache.js';
import type { BatchText } from '../../model/training-batch.js';

/** Captions as the model takes them. */
export interface BatchTexts {
	/** @param timeIds SDXL: of each picture */
	batch(captions: readonly string[], timeIds: readonly (readonly number[])[] | undefined): Promise<BatchText>;
	/** Compute the states of these beforehand. @throws {FormatError} those of encoding, `E_INTERRUPTED` */
	prepare(captions: ReadonlySet<string>, onProgress: (done: number, total: number) => void, signal: AbortSignal | undefined): Promise<void>;
	/** Give the memory of frozen text encoders back. */
	release(): Promise<void>;
	/** Ends of captions that were too long, as far as they were met. */
	readonly truncated: ReadonlySet<string>;
}

/** Token ids, for text encoders or a token that are trained. @param tokenizers with the learned token, one for each text encoder */
export function tokenTexts(tokenizers: readonly ClipTokenizer[]): BatchTexts {
	const truncated = new Set<string>();
	return {
		truncated,
		async batch(captions, timeIds) {
			const [ids = [], ids2] = tokenizers.map((tokenizer) => captions.map((caption) => [...encode(tokenizer, caption, truncated)]));
			return { ids, ids2, timeIds };
		},
		prepare: async () => {},
		release: async () => {},
	};
}

/** Memory for states of texts where they are not kept on disk. */
const MEMORY_BYTES = 256 * 1024 * 1024;

/**
 * States of frozen text encoders, each text computed once.
 * @param cache on disk; undefined: those used latest are kept in memory
 * @param digests of stored tensors, as far as they are known, for the identity of the text encoders in the cache
 * @throws {FormatError} those of reading the others
 */
export async function frozenTexts(
	base: Base,
	engine: Engine,
	tokenizers: readonly ClipTokenizer[],
	cache: TensorCache | undefined,
	digests: ReadonlyMap<Tensor, string>,
): Promise<BatchTexts> {
	const truncated = new Set<string>();
	const penultimate = base.architecture === 'sdxl';
	const encoders = base.textEncoders.map((config) => ({ config, component: createComponent(config.component, engine, base.weights) }));
	const identities: string[] = [];
	// In one run they are the same.
	for (const { config } of cache === undefined ? [] : encoders)
		identities.push(await weightsIdentity(base.weights, config.component, config, { createHasher: createNodeSha256, digests }));
	const source = createTextSource({
		cache: cache ?? createMemoryCache(MEMORY_BYTES),
		async encode(ids) {
			const out = [];
			for (const [i, { config, component }] of encoders.entries()) {
				out.push(await encodeText(component, config.component, config, ids[i] ?? new Int32Array(), 1, { penultimate }));
			}
			return out;
		},
	});

	async function one(caption: string): Promise<readonly TextStates[]> {
		const ids = tokenizers.map((tokenizer) => encode(tokenizer, caption, truncated));
		const key = textKey(
			{ ids: ids.map((row) => [...row]), encoders: identities, clipSkip: 0, engine: `${engine.id} ${engine.device}`, dtype: 'f32' },
			createNodeSha256,
		);
		return source.states(key, ids);
	}

	return {
		truncated,
		async batch(captions, timeIds) {
			const all: ReturnType<typeof told>[] = [];
			for (const [i, caption] of captions.entries()) all.push(told(base, await one(caption), timeIds?.[i]));
			const added = all.flatMap((text) => text.added ?? []);
			return {
				states: stacked(
					all.map((text) => text.states),
					'text states',
				),
				added: added.length === 0 ? undefined : stacked(added, 'added conditions'),
			};
		},
		async prepare(captions, onProgress, signal) {
			let done = 0;
			for (const caption of captions) {
				if (signal?.aborted === true)
					throw new FormatError('E_INTERRUPTED', 'stopped before all captions were encoded; what is in the cache stays.');
				await one(caption);
				onProgress(++done, captions.size);
			}
		},
		async release() {
			for (const { component } of encoders) await component.release();
		},
	};
}

/** What the UNet is told, of one row: states side by side; SDXL's pooled state with the features of the time ids. */
function told(
	base: Base,
	text: readonly TextStates[],
	timeIds: readonly number[] | undefined,
): { readonly states: HostTensor; readonly added: HostTensor | undefined } {
	const states = conditionOn(base, text, text, { count: 1, height: 1, width: 1 }).states(false);
	const pooled = text.at(-1)?.pooled;
	if (timeIds === undefined || pooled === undefined) return { states, added: undefined };
	return { states, added: conditioningOf(base.unet, states, undefined, { pooled, negativePooled: undefined, timeIds }).added?.(false) };
}

function encode(tokenizer: ClipTokenizer, caption: string, truncated: Set<string>): Int32Array {
	const { ids, truncated: rest } = tokenizer.encode(caption);
	if (rest !== undefined) truncated.add(rest);
	return ids;
}
