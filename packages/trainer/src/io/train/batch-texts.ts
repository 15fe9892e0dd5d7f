import { FormatError } from '@lorakit/format';
import { createNodeSha256 } from '@lorakit/format/node';
import {
	type Base,
	type ClipTokenizer,
	conditionOn,
	createComponent,
	type Engine,
	encodeText,
	f32Tensor,
	type HostTensor,
} from '@lorakit/runtime';
import { textKey, weightsIdentity } from '../../data/cache-key.js';
import { createMemoryCache, type TensorCache } from '../../data/cache-tensors.js';
import { createTextSource } from '../../data/text-cache.js';
import type { BatchText } from '../../model/training-batch.js';

/** Captions as the model takes them. */
export interface BatchTexts {
	batch(captions: readonly string[]): Promise<BatchText>;
	/** Compute the states of these beforehand. @throws {FormatError} those of encoding, `E_INTERRUPTED` */
	prepare(captions: ReadonlySet<string>, onProgress: (done: number, total: number) => void, signal: AbortSignal | undefined): Promise<void>;
	/** Give the memory of frozen text encoders back. */
	release(): Promise<void>;
	/** Ends of captions that were too long, as far as they were met. */
	readonly truncated: ReadonlySet<string>;
}

/** Token ids, for a text encoder or a token that is trained. @param tokenizer with the learned token */
export function tokenTexts(tokenizer: ClipTokenizer): BatchTexts {
	const truncated = new Set<string>();
	return {
		truncated,
		batch: async (captions) => ({ ids: captions.map((caption) => [...encode(tokenizer, caption, truncated)]) }),
		prepare: async () => {},
		release: async () => {},
	};
}

/** Memory for states of texts where they are not kept on disk. */
const MEMORY_BYTES = 256 * 1024 * 1024;

/**
 * States of frozen text encoders, each text computed once.
 * @param cache on disk; undefined: those used latest are kept in memory
 * @param size of SDXL's pictures, which its states come with
 * @throws {FormatError} those of reading the text encoders once, for their identity in the cache
 */
export async function frozenTexts(
	base: Base,
	engine: Engine,
	tokenizers: readonly ClipTokenizer[],
	cache: TensorCache | undefined,
	size: number,
): Promise<BatchTexts> {
	const truncated = new Set<string>();
	const penultimate = base.architecture === 'sdxl';
	const encoders = base.textEncoders.map((config) => ({ config, component: createComponent(config.component, engine, base.weights) }));
	const identities: string[] = [];
	// In one run they are the same.
	for (const { config } of cache === undefined ? [] : encoders)
		identities.push(await weightsIdentity(base.weights, config.component, config, { createHasher: createNodeSha256 }));
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

	async function one(caption: string): Promise<{ readonly states: HostTensor; readonly added: HostTensor | undefined }> {
		const ids = tokenizers.map((tokenizer) => encode(tokenizer, caption, truncated));
		const key = textKey(
			{ ids: ids.map((row) => [...row]), encoders: identities, clipSkip: 0, engine: `${engine.id} ${engine.device}`, dtype: 'f32' },
			createNodeSha256,
		);
		const states = await source.states(key, ids);
		const conditioning = conditionOn(base, states, states, { count: 1, height: size, width: size });
		return { states: conditioning.states(false), added: conditioning.added?.(false) };
	}

	return {
		truncated,
		async batch(captions) {
			const all = [];
			for (const caption of captions) all.push(await one(caption));
			const added = all.flatMap((text) => text.added ?? []);
			return { states: stacked(all.map((text) => text.states)), added: added.length === 0 ? undefined : stacked(added) };
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

function encode(tokenizer: ClipTokenizer, caption: string, truncated: Set<string>): Int32Array {
	const { ids, truncated: rest } = tokenizer.encode(caption);
	if (rest !== undefined) truncated.add(rest);
	return ids;
}

/** (1, ...) each -> (b, ...). */
function stacked(tensors: readonly HostTensor[]): HostTensor {
	const [first] = tensors;
	const size = first?.data.length ?? 0;
	const data = new Float32Array(size * tensors.length);
	for (const [i, tensor] of tensors.entries()) data.set(tensor.data, i * size);
	return f32Tensor([tensors.length, ...(first?.shape.slice(1) ?? [])], data);
}
