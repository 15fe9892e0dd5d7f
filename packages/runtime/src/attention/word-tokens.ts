import { FormatError, quote } from '@lorakit/format';
import type { ClipTokenizer } from '../tokenizer/clip-tokenizer.js';
import { normalizePrompt, promptWords } from '../tokenizer/prompt-words.js';

/** A word between spaces and where its tokens are, the start token being position 0. */
export interface SpacedWord {
	readonly text: string;
	readonly positions: readonly number[];
}

/**
 * The words of a prompt, split at white space.
 * @throws {FormatError} `E_USAGE` when the prompt has more tokens than fit, or a token reaches over a space.
 */
export function spacedWords(tokenizer: ClipTokenizer, prompt: string): readonly SpacedWord[] {
	const all = tokenizer.tokenize(prompt);
	if (all.length > tokenizer.maxLength - 2) {
		throw new FormatError(
			'E_USAGE',
			`${quote(prompt)} has ${all.length} tokens; its attention can be edited only when all fit, at most ${tokenizer.maxLength - 2}.`,
		);
	}
	return spacedParts(tokenizer, prompt, all, (i) => i + 1);
}

/**
 * As `spacedWords`, of a text of any length.
 * @param all its tokens
 * @param positionOf where the text encoder has the nth of them
 */
function spacedParts(
	tokenizer: ClipTokenizer,
	text: string,
	all: Int32Array,
	positionOf: (token: number) => number,
): readonly SpacedWord[] {
	let next = 0;
	const words = normalizedParts(text).map((part): SpacedWord => {
		const ids = tokenizer.tokenize(part);
		const positions = Array.from(ids, (_, i) => positionOf(next + i));
		for (const [i, id] of ids.entries()) if (all[next + i] !== id) next = Number.NaN;
		next += ids.length;
		return { text: part, positions };
	});
	if (next !== all.length) {
		throw new FormatError('E_USAGE', `A token of ${quote(text)} reaches over a space, so its words cannot be told apart.`);
	}
	return words;
}

/**
 * Positions of the tokens of a word (or of several that follow each other) wherever the prompt has it, in any case of
 * letters, also next to punctuation: "circle" in "a circle, red".
 * @throws {FormatError} `E_USAGE` when the prompt has not the word; those of `spacedWords`.
 */
export function wordTokens(tokenizer: ClipTokenizer, prompt: string, word: string): readonly number[] {
	const found = findWord(tokenizer, prompt, word);
	if (found.length === 0) throw new FormatError('E_USAGE', `The prompt ${quote(prompt)} has no word ${quote(word)}.`);
	return found;
}

/** As `wordTokens`, and none where the prompt has not the word. @throws {FormatError} those of `spacedWords`. */
export function findWord(tokenizer: ClipTokenizer, prompt: string, word: string): readonly number[] {
	return findUnits(
		spacedWords(tokenizer, prompt).flatMap((spaced) => units(tokenizer, spaced)),
		tokenizer,
		word,
	);
}

/** A word as CLIP has it, and where its tokens are. */
export interface WordUnit {
	readonly ids: ArrayLike<number>;
	readonly positions: readonly number[];
}

/** CLIP's words of a text of any length. @throws {FormatError} `E_USAGE` when a token reaches over a space. */
export function wordUnits(
	tokenizer: ClipTokenizer,
	text: string,
	all: Int32Array,
	positionOf: (token: number) => number,
): readonly WordUnit[] {
	return spacedParts(tokenizer, text, all, positionOf).flatMap((spaced) => units(tokenizer, spaced));
}

/** Positions of a word (or of several that follow each other) wherever the units have it. @throws {FormatError} those of `spacedWords`. */
export function findUnits(inside: readonly WordUnit[], tokenizer: ClipTokenizer, word: string): readonly number[] {
	const wanted = spacedWords(tokenizer, word)
		.flatMap((spaced) => units(tokenizer, spaced))
		.map(({ ids }) => ids.join());
	const found = new Set<number>();
	if (wanted.length > 0) {
		for (let at = 0; at + wanted.length <= inside.length; at++) {
			const here = inside.slice(at, at + wanted.length);
			if (here.every(({ ids }, i) => Array.from(ids).join() === wanted[i]))
				for (const { positions } of here) for (const p of positions) found.add(p);
		}
	}
	return [...found].sort((a, b) => a - b);
}

/** Words between spaces in CLIP's own words: "circle," is two. An added token stays whole. */
function units(tokenizer: ClipTokenizer, { text, positions }: SpacedWord): { ids: Int32Array; positions: readonly number[] }[] {
	const whole = tokenizer.tokenize(text);
	const parts = promptWords(normalizePrompt(text)).map((part) => tokenizer.tokenize(part));
	const flat = parts.flatMap((ids) => [...ids]);
	if (flat.join() !== whole.join()) return [{ ids: whole, positions }];
	let next = 0;
	return parts.map((ids) => {
		next += ids.length;
		return { ids, positions: positions.slice(next - ids.length, next) };
	});
}

function normalizedParts(prompt: string): readonly string[] {
	return prompt.split(/\s+/u).filter((part) => part !== '');
}
