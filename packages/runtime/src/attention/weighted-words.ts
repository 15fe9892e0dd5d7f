import { chunkTokens } from '../tokenizer/chunk-tokens.js';
import type { ClipTokenizer } from '../tokenizer/clip-tokenizer.js';
import type { PromptSegment } from '../tokenizer/prompt-weights.js';
import { findUnits, type WordUnit, wordUnits } from './word-tokens.js';

/** A token of a prompt, and where `encodeWeighted` puts it: chunk times 77, plus its place in the chunk. */
export interface WeightedToken {
	readonly id: number;
	readonly position: number;
}

/** Where the words of a weighted prompt are among its text states. */
export interface WeightedWords {
	/** All tokens of the prompt, without those that begin, end and fill chunks. */
	readonly tokens: readonly WeightedToken[];
	/**
	 * As `findWord`, in any chunk; words that follow each other also where a bracket or a chunk ends between them, but not BREAK.
	 * @throws {FormatError} those of `spacedWords`, of the word.
	 */
	find(word: string): readonly number[];
}

/** The weights of a chunk that are no segment's: of bos, eos and padding. */
const MARK = 2;

/**
 * Exactly the tokens that `encodeChunks` gives to the text encoder: `chunkTokens` is asked with the number of the segment as
 * its weight, so every place of a chunk says whose it is.
 * @throws {FormatError} `E_USAGE` when a token of a segment reaches over a space.
 */
export function weightedWords(tokenizer: ClipTokenizer, segments: readonly PromptSegment[]): WeightedWords {
	const marked = segments.map((segment, i): PromptSegment => (segment.kind === 'text' ? { ...segment, weight: i + MARK } : segment));
	const tokens: WeightedToken[] = [];
	const bySegment = new Map<number, number[]>();
	for (const [chunk, { ids, weights }] of chunkTokens(tokenizer, marked).entries()) {
		for (const [i, weight] of weights.entries()) {
			if (weight < MARK) continue;
			const position = chunk * tokenizer.maxLength + i;
			tokens.push({ id: ids[i] ?? 0, position });
			const own = bySegment.get(weight - MARK) ?? [];
			own.push(position);
			bySegment.set(weight - MARK, own);
		}
	}
	const parts: WordUnit[][] = [[]];
	for (const [i, segment] of segments.entries()) {
		if (segment.kind === 'break') parts.push([]);
		else {
			const positions = bySegment.get(i) ?? [];
			parts.at(-1)?.push(...wordUnits(tokenizer, segment.text, tokenizer.tokenize(segment.text), (n) => positions[n] ?? Number.NaN));
		}
	}
	return { tokens, find: (word) => parts.flatMap((units) => findUnits(units, tokenizer, word)) };
}
