import { FormatError, quote } from '@lorakit/format';
import { LETTER_BYTES } from './byte-letters.js';
import {
	MAX_ADDED_TOKEN_CHARACTERS,
	MAX_ADDED_TOKENS,
	MAX_CACHED_WORD_CHARACTERS,
	MAX_CACHED_WORDS,
	MAX_PROMPT_CHARACTERS,
} from './limits.js';
import { mergeWord } from './merge-word.js';
import { normalizePrompt, promptWords } from './prompt-words.js';
import { readVocabulary, type Vocabulary, WORD_END } from './read-vocabulary.js';
import { type AddedToken, readSettings, type TokenizerSettings } from './special-tokens.js';

/** Texts of the files of a tokenizer folder: vocab.json, merges.txt, tokenizer_config.json, special_tokens_map.json, added_tokens.json. */
export interface ClipTokenizerFiles {
	readonly vocab: string;
	readonly merges: string;
	readonly config?: string | undefined;
	readonly specialTokens?: string | undefined;
	readonly addedTokens?: string | undefined;
}

/** A placeholder with several vectors (textual inversion): its text, and how many. */
export interface Placeholder {
	readonly token: string;
	readonly vectors: number;
}

/**
 * CLIP's byte-pair tokenizer, with the ids of transformers' CLIPTokenizer (5.x).
 *
 * Why our own and not `@huggingface/tokenizers` 0.2.0: that one lowers "ΟΔΟΣ" to a final sigma, which the Rust
 * tokenizers do not, splits words at U+FEFF, finds `<|ENDOFTEXT|>` where transformers does not, and takes 0.14 s for
 * one word of 10,000 letters (measured over 3,078 texts: 19 had other ids).
 *
 * What is a letter or a number is asked of the JavaScript engine's Unicode tables; letters that Unicode assigned after
 * the tables of Rust's tokenizers, or after the engine's, may be split otherwise.
 */
export interface ClipTokenizer {
	/** Ids that `encode` gives: 77. */
	readonly maxLength: number;
	readonly bos: number;
	readonly eos: number;
	readonly pad: number;
	/** Ids in all: the vocabulary and what was added. */
	readonly size: number;
	/** Vectors of each placeholder, by its first id; the others follow it. */
	readonly placeholders: ReadonlyMap<number, number>;
	/**
	 * Ids without bos and eos, any number of them.
	 * @throws {FormatError} `E_LIMIT` for a text over MAX_PROMPT_CHARACTERS.
	 */
	tokenize(text: string): Int32Array;
	/** Exactly `maxLength` ids: bos, text, eos, padding. `truncated` is the text that did not fit, as the vocabulary spells it. */
	encode(text: string): { readonly ids: Int32Array; readonly truncated: string | undefined };
	/** Text of ids. @throws {FormatError} `E_USAGE` for an id that is none. */
	decode(ids: ArrayLike<number>): string;
	/**
	 * The same tokenizer with placeholder tokens of textual inversion, found in any case of letters. New ids follow in
	 * order. A placeholder of several vectors stands for all of them; the second is also `token_1`, the third `token_2`,
	 * as diffusers names them (src/diffusers/loaders/textual_inversion.py). `added` has every name and its id.
	 *
	 * @throws {FormatError} `E_USAGE` for a token that is there already or is none.
	 */
	addTokens(tokens: readonly (string | Placeholder)[]): ClipTokenizer & { readonly added: ReadonlyMap<string, number> };
}

/** @throws {FormatError} `E_CONFIG` for files that make no sense, `E_LIMIT` for files beyond the limits. */
export function createClipTokenizer(files: ClipTokenizerFiles): ClipTokenizer {
	const vocabulary = readVocabulary(files.vocab, files.merges);
	return build(vocabulary, readSettings(files, vocabulary.ids), new Map(), new Map());
}

function build(
	vocabulary: Vocabulary,
	settings: TokenizerSettings,
	placeholders: ReadonlyMap<number, number>,
	cache: Map<string, readonly number[]>,
): ClipTokenizer {
	const { maxLength, bos, eos, pad, unknown } = settings;
	const raw = new Finder(settings.added.filter((token) => !token.normalized));
	const lowered = new Finder(
		settings.added.filter((token) => token.normalized).map((token) => ({ ...token, content: normalizePrompt(token.content) })),
	);
	const texts = new Map(settings.added.map((token) => [token.id, token.normalized ? normalizePrompt(token.content) : token.content]));
	const size = [...texts.keys()].reduce((most, id) => Math.max(most, id + 1), vocabulary.tokens.length);

	function wordIds(word: string): readonly number[] {
		const known = cache.get(word);
		if (known !== undefined) return known;
		const ids = mergeWord(vocabulary, word, unknown);
		if (word.length <= MAX_CACHED_WORD_CHARACTERS) {
			if (cache.size >= MAX_CACHED_WORDS) cache.clear();
			cache.set(word, ids);
		}
		return ids;
	}

	function tokenize(text: string): Int32Array {
		if (text.length > MAX_PROMPT_CHARACTERS) {
			throw new FormatError('E_LIMIT', `The prompt has ${text.length} characters; the limit is ${MAX_PROMPT_CHARACTERS}.`);
		}
		const ids: number[] = [];
		const found = (id: number): void => {
			for (let i = 0; i < (placeholders.get(id) ?? 1); i++) ids.push(id + i);
		};
		raw.split(text, found, (part) => {
			lowered.split(normalizePrompt(part), found, (plain) => {
				for (const word of promptWords(plain)) for (const id of wordIds(word)) ids.push(id);
			});
		});
		return Int32Array.from(ids);
	}

	function decode(ids: ArrayLike<number>): string {
		const bytes: number[] = [];
		const encoder = new TextEncoder();
		for (let i = 0; i < ids.length; i++) {
			const id = ids[i] ?? -1;
			const token = texts.get(id) ?? vocabulary.tokens[id];
			if (token === undefined) throw new FormatError('E_USAGE', `${id} is no id of this tokenizer, which has ${size}.`);
			const letters = Array.from(token, (letter) => LETTER_BYTES.get(letter));
			// An added token may hold letters that stand for no byte; then it is plain text.
			for (const byte of letters.includes(undefined) ? encoder.encode(token) : letters) bytes.push(byte ?? 0);
		}
		return new TextDecoder('utf-8', { ignoreBOM: true }).decode(Uint8Array.from(bytes)).replaceAll(WORD_END, ' ').trim();
	}

	return {
		maxLength,
		bos,
		eos,
		pad,
		size,
		placeholders,
		tokenize,
		decode,
		encode(text) {
			const all = tokenize(text);
			const room = maxLength - 2;
			const kept = all.subarray(0, room);
			const ids = new Int32Array(maxLength).fill(pad);
			ids[0] = bos;
			ids.set(kept, 1);
			ids[kept.length + 1] = eos;
			return { ids, truncated: all.length > room ? decode(all.subarray(room)) : undefined };
		},
		addTokens(tokens) {
			const plan = planTokens(tokens, size, new Set([...vocabulary.ids.keys(), ...texts.values()]));
			const added = [...settings.added, ...plan.tokens];
			const built = build(vocabulary, { ...settings, added }, new Map([...placeholders, ...plan.placeholders]), cache);
			return { ...built, added: new Map(plan.tokens.map(({ content, id }) => [content, id])) };
		},
	};
}

/** Names and ids of new tokens. */
function planTokens(
	tokens: readonly (string | Placeholder)[],
	firstId: number,
	taken: Set<string>,
): { readonly tokens: readonly AddedToken[]; readonly placeholders: ReadonlyMap<number, number> } {
	const planned: AddedToken[] = [];
	const placeholders = new Map<number, number>();
	let next = firstId;
	for (const entry of tokens) {
		const { token, vectors } = typeof entry === 'string' ? { token: entry, vectors: 1 } : entry;
		if (token.trim() === '' || token.length > MAX_ADDED_TOKEN_CHARACTERS || !Number.isInteger(vectors) || vectors < 1) {
			throw new FormatError(
				'E_USAGE',
				`${quote(token)} with ${vectors} vectors is no placeholder token: give it 1 to ${MAX_ADDED_TOKEN_CHARACTERS} characters and at least one vector.`,
			);
		}
		if (planned.length + vectors > MAX_ADDED_TOKENS)
			throw new FormatError('E_LIMIT', `More than ${MAX_ADDED_TOKENS} tokens cannot be added.`);
		placeholders.set(next, vectors);
		for (let i = 0; i < vectors; i++) {
			const content = i === 0 ? token : `${token}_${i}`;
			const spelled = normalizePrompt(content);
			if (taken.has(content) || taken.has(spelled)) {
				throw new FormatError('E_USAGE', `The tokenizer has a token ${quote(content)} already; name the placeholder otherwise.`);
			}
			taken.add(content).add(spelled);
			planned.push({ content, id: next++, normalized: true });
		}
	}
	return { tokens: planned, placeholders };
}

/** Finds added tokens in a text: the leftmost, and of those that begin there the longest. */
class Finder {
	readonly #pattern: RegExp | undefined;
	readonly #ids: ReadonlyMap<string, number>;

	constructor(tokens: readonly AddedToken[]) {
		this.#ids = new Map(tokens.map(({ content, id }) => [content, id]));
		const longestFirst = [...this.#ids.keys()].sort((a, b) => b.length - a.length);
		this.#pattern =
			longestFirst.length === 0
				? undefined
				: new RegExp(longestFirst.map((content) => content.replace(/[\\^$.*+?()[\]{}|/]/g, '\\$&')).join('|'), 'gu');
	}

	/** Calls `found` for each token and `between` for each piece of other text, in order. */
	split(text: string, found: (id: number) => void, between: (piece: string) => void): void {
		let end = 0;
		for (const match of this.#pattern === undefined ? [] : text.matchAll(this.#pattern)) {
			if (match.index > end) between(text.slice(end, match.index));
			found(this.#ids.get(match[0]) ?? 0);
			end = match.index + match[0].length;
		}
		if (end < text.length) between(text.slice(end));
	}
}
