import {
	type AdapterUse,
	type DoraStrength,
	type Embedding,
	FormatError,
	planTerms,
	quote,
	type TermPlan,
	type Warning,
} from '@lorakit/format';
import { adapterFeeds, NO_ADAPTERS } from '../adapters/adapter-feeds.js';
import type { Base } from '../base/base.js';
import type { Engine } from '../engines/engine.js';
import type { HostTensor } from '../host-tensor.js';
import type { ClipTokenizer } from '../tokenizer/clip-tokenizer.js';
import { type Component, createComponent } from './component-sessions.js';
import { besides, type Conditioning, conditioningOf, repeated } from './conditioning.js';
import { type LearnedTokens, learnTokens, NO_TOKENS } from './embeddings.js';
import { encodeText, type TextStates, zeroStates } from './encode-text.js';
import { decodeLatents, encodePixels, type LatentDistribution } from './vae.js';

export interface StableDiffusionOptions {
	/** One for each text encoder of the base. */
	readonly tokenizers: readonly ClipTokenizer[];
	/** Told while weights are read: which component, how far. */
	readonly onProgress?: ((component: string, done: number, total: number) => void) | undefined;
}

export interface PromptOptions {
	/** Pictures of the same prompt. */
	readonly count?: number | undefined;
	readonly clipSkip?: number | undefined;
	/** Pixels, for SDXL's size conditions. */
	readonly height: number;
	readonly width: number;
}

/** How adapters are applied. */
export interface AdapterOptions {
	/** What a scale other than 1 means for DoRA; default `interpolate`. */
	readonly doraStrength?: DoraStrength | undefined;
}

/** A text as the UNet gets it, and what of it was cut off. */
export interface EncodedPrompt {
	readonly conditioning: Conditioning;
	/** The ends of texts that were too long: prompt, negative. */
	readonly truncated: readonly string[];
	/** (1, tokens): ids of the prompt and of the negative, by text encoder. */
	readonly ids: readonly (readonly [Int32Array, Int32Array])[];
}

/** A base on an engine, with adapters over it that can be changed at any time. The base's weights are never changed. */
export interface StableDiffusion {
	readonly base: Base;
	readonly engine: Engine;
	readonly unet: Component;
	/**
	 * These adapters, and no others, from the next run on: a new scale of adapters that are plain low-rank factors costs
	 * no session. Embeddings that they carry become tokens.
	 * @returns what people should know
	 * @throws {FormatError} when an adapter is for another base, or cannot be applied over one.
	 */
	setAdapters(uses: readonly AdapterUse[], options?: AdapterOptions): Promise<readonly Warning[]>;
	/**
	 * Learned tokens of their own files, beside those that adapters carry. What is refused changes nothing, here and in
	 * `setAdapters`.
	 * @throws {FormatError} those of `learnTokens` and of the tokenizers.
	 */
	setEmbeddings(embeddings: readonly Embedding[]): Promise<void>;
	/** The tokens that prompts may use now. */
	readonly tokens: LearnedTokens;
	/** Those that prompts are read with now, learned tokens included; one for each text encoder. */
	readonly tokenizers: readonly ClipTokenizer[];
	/** @throws {FormatError} `E_USAGE` when a text encoder has no tokenizer, or the clip skip leaves no layer. */
	encodePrompt(prompt: string, negative: string | undefined, options: PromptOptions): Promise<EncodedPrompt>;
	/** (1, tokens) ids by text encoder, for those who have no tokenizer; where one has none of its own, the first's. */
	encodeIds(ids: readonly Int32Array[], clipSkip?: number): Promise<readonly TextStates[]>;
	/** (b, latent, h, w) as the UNet has them -> pixels (b, 3, 8 h, 8 w). */
	decode(latents: HostTensor): Promise<HostTensor>;
	encode(pixels: HostTensor): Promise<LatentDistribution>;
	close(): Promise<void>;
}

/** Nothing is loaded before it is needed. */
export function createStableDiffusion(base: Base, engine: Engine, options: StableDiffusionOptions): StableDiffusion {
	const component = (name: string, upcast = false): Component =>
		createComponent(name, engine, base.weights, { onProgress: (done, total) => options.onProgress?.(name, done, total), upcast });
	const unet = component('unet');
	// The VAE of SDXL overflows float16; of `force_upcast` only its pipelines take heed (diffusers pipelines/stable_diffusion_xl).
	const upcast = base.architecture === 'sdxl' && base.vae.forceUpcast;
	const encoder = component('vae', upcast);
	const decoder = component('vae', upcast);
	const encoders = base.textEncoders.map((config) => ({ config, component: component(config.component) }));
	const names = new Set(['unet', 'vae', ...base.textEncoders.map(({ component }) => component)]);
	let plan: TermPlan | undefined;
	let ownEmbeddings: readonly Embedding[] = [];
	let tokens = NO_TOKENS;
	let tokenizers = options.tokenizers;

	/** Everything that may fail comes before anything is changed. */
	async function relearn(carriedBy: TermPlan | undefined, own: readonly Embedding[]): Promise<void> {
		const carried = carriedBy?.embeddings.flatMap(({ embeddings }) => embeddings) ?? [];
		const learned = await learnTokens([...carried, ...own], base.textEncoders);
		const { placeholders } = learned;
		if (placeholders.length > 0) checkSizes();
		const made = placeholders.length === 0 ? options.tokenizers : options.tokenizers.map((t) => t.addTokens(placeholders));
		tokens = learned;
		tokenizers = made;
	}

	/** The first learned id is the tokenizer's next; the text encoder must take it for its first added row. */
	function checkSizes(): void {
		for (const [i, { component: name, vocabSize }] of base.textEncoders.entries()) {
			const size = options.tokenizers[i]?.size;
			if (size === undefined || size === vocabSize) continue;
			throw new FormatError(
				'E_BASE_MISMATCH',
				`The tokenizer of ${name} has ${size} tokens and its text encoder ${vocabSize}; learned tokens need as many of both: give the tokenizer of this base.`,
			);
		}
	}

	async function encodeIds(ids: readonly Int32Array[], clipSkip?: number): Promise<readonly TextStates[]> {
		const out: TextStates[] = [];
		for (const [i, { config, component: target }] of encoders.entries()) {
			const own = ids[i] ?? ids[0];
			if (own === undefined) throw new FormatError('E_USAGE', `No token ids for ${config.component}.`);
			const penultimate = base.architecture === 'sdxl';
			out.push(
				await encodeText(target, config.component, config, own, 1, { clipSkip, penultimate, added: tokens.rows.get(config.component) }),
			);
		}
		return out;
	}

	return {
		base,
		engine,
		unet,
		get tokens() {
			return tokens;
		},
		get tokenizers() {
			return tokenizers;
		},
		async setAdapters(uses, { doraStrength } = {}) {
			const previous = plan === undefined ? {} : { previous: plan };
			const next = uses.length === 0 ? undefined : await planTerms(base.model, uses, { doraStrength, ...previous });
			const feeds = next === undefined ? NO_ADAPTERS : await adapterFeeds(next, names);
			await relearn(next, ownEmbeddings);
			plan = next;
			for (const target of [unet, encoder, decoder, ...encoders.map((e) => e.component)]) target.adapt(feeds);
			return next?.warnings ?? [];
		},
		async setEmbeddings(embeddings) {
			await relearn(plan, embeddings);
			ownEmbeddings = embeddings;
		},
		async encodePrompt(prompt, negative, { count = 1, clipSkip, height, width }) {
			const truncated: string[] = [];
			const idsOf = (text: string): Int32Array[] =>
				encoders.map((_, i) => {
					const { ids, truncated: rest } = tokenizerOf({ base, tokenizers }, i).encode(text);
					if (rest !== undefined && i === 0) truncated.push(rest);
					return ids;
				});
			const [own, other] = [idsOf(prompt), idsOf(negative ?? '')];
			const text = await encodeIds(own, clipSkip);
			const zeros = negative === undefined && base.forceZerosForEmptyPrompt;
			// As diffusers has it: clip skip is for the prompt alone.
			const against = zeros ? text.map(zeroStates) : await encodeIds(other);
			return {
				conditioning: conditionOn(base, text, against, { count, height, width }),
				truncated,
				ids: own.map((ids, i) => [ids, other[i] ?? ids]),
			};
		},
		encodeIds,
		decode: (latents) => decodeLatents(decoder, base.vae, latents),
		encode: (pixels) => encodePixels(encoder, base.vae, pixels),
		async close() {
			// All of them, also when one cannot be.
			const all = [unet, encoder, decoder, ...encoders.map((e) => e.component)].map((target) => target.release());
			const failed = (await Promise.allSettled(all)).find((result) => result.status === 'rejected');
			if (failed !== undefined) throw failed.reason;
		},
	};
}

/** States of one text (and its negative) for `count` pictures of that size. */
export function conditionOn(
	base: Base,
	text: readonly TextStates[],
	negative: readonly TextStates[],
	{ count, height, width }: { readonly count: number; readonly height: number; readonly width: number },
): Conditioning {
	const beside = (parts: readonly TextStates[]): HostTensor => repeated(parts.map(({ states }) => states).reduce(besides), count);
	const pooled = (parts: readonly TextStates[]): HostTensor | undefined => {
		const last = parts.at(-1)?.pooled;
		return last === undefined ? undefined : repeated(last, count);
	};
	const own = pooled(text);
	const added =
		base.unet.additionEmbedType === undefined || own === undefined
			? undefined
			: { pooled: own, negativePooled: pooled(negative), timeIds: [height, width, 0, 0, height, width] };
	return conditioningOf(base.unet, beside(text), beside(negative), added);
}

/** The tokenizer of a text encoder. @throws {FormatError} `E_USAGE` when it has none. */
export function tokenizerOf({ base, tokenizers }: Pick<StableDiffusion, 'base' | 'tokenizers'>, encoder: number): ClipTokenizer {
	const tokenizer = tokenizers[encoder];
	if (tokenizer !== undefined) return tokenizer;
	throw new FormatError(
		'E_USAGE',
		`${quote(base.name)} has no tokenizer for ${base.textEncoders[encoder]?.component}; name a folder that has one (--tokenizer DIR).`,
	);
}
