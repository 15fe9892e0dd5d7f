import type { ClipTokenizer } from './clip-tokenizer.js';
import type { PromptSegment } from './prompt-weights.js';

/** A comma at most this many tokens before the end of a full chunk carries what follows it into the next chunk. */
export const COMMA_BACKTRACK: number = 20;

/** One text encoder input: bos, tokens, eos and padding, and a weight for each. bos, eos and padding weigh 1. */
export interface TokenChunk {
	/** `maxLength` of the tokenizer: 77. */
	readonly ids: Int32Array;
	readonly weights: Float32Array;
}

/**
 * Cut a weighted prompt of any length into chunks of 75 tokens, by AUTOMATIC1111's rule
 * (AUTOMATIC1111/stable-diffusion-webui modules/sd_hijack_clip.py tokenize_line): each segment is tokenized by itself;
 * BREAK ends a chunk; a full chunk is cut after its last comma, if that is near; the vectors of one placeholder stay
 * together. At least one chunk.
 */
export function chunkTokens(tokenizer: ClipTokenizer, segments: readonly PromptSegment[]): TokenChunk[] {
	const room = tokenizer.maxLength - 2;
	const comma = commaOf(tokenizer);
	const chunks: TokenChunk[] = [];
	let ids: number[] = [];
	let weights: number[] = [];
	let lastComma = -1;
	const close = (): void => {
		chunks.push(finish(tokenizer, ids, weights));
		ids = [];
		weights = [];
		lastComma = -1;
	};
	for (const segment of segments) {
		if (segment.kind === 'break') {
			close();
			continue;
		}
		const tokens = tokenizer.tokenize(segment.text);
		for (let at = 0; at < tokens.length; ) {
			const token = tokens[at] ?? 0;
			if (token === comma) {
				lastComma = ids.length;
			} else if (ids.length === room && lastComma !== -1 && ids.length - lastComma <= COMMA_BACKTRACK) {
				const moved = [ids.splice(lastComma + 1), weights.splice(lastComma + 1)] as const;
				close();
				[ids, weights] = moved;
			}
			if (ids.length === room) close();
			const vectors = wholePlaceholder(tokenizer, tokens, at);
			// One with more vectors than a chunk holds cannot be kept together.
			if (vectors > 1 && vectors <= room && ids.length + vectors > room) close();
			for (let i = 0; i < vectors; i++) {
				if (ids.length === room) close();
				ids.push(tokens[at + i] ?? 0);
				weights.push(segment.weight);
			}
			at += vectors;
		}
	}
	if (ids.length > 0 || chunks.length === 0) close();
	return chunks;
}

/** The token of a comma that stands alone, where the vocabulary has it as one. */
function commaOf(tokenizer: ClipTokenizer): number | undefined {
	const ids = tokenizer.tokenize(',');
	return ids.length === 1 && ids[0] !== tokenizer.eos ? ids[0] : undefined;
}

/** Vectors of the placeholder that begins here; 1 for any other token. */
function wholePlaceholder(tokenizer: ClipTokenizer, tokens: Int32Array, at: number): number {
	const first = tokens[at] ?? 0;
	const vectors = tokenizer.placeholders.get(first) ?? 1;
	for (let i = 1; i < vectors; i++) if (tokens[at + i] !== first + i) return 1;
	return vectors;
}

/** After the first eos all is padding, even what the prompt itself wrote behind an eos, where the two differ. */
function finish(tokenizer: ClipTokenizer, tokens: readonly number[], multipliers: readonly number[]): TokenChunk {
	const { maxLength, bos, eos, pad } = tokenizer;
	const ids = new Int32Array(maxLength).fill(eos);
	ids[0] = bos;
	ids.set(tokens, 1);
	if (pad !== eos) ids.fill(pad, ids.indexOf(eos) + 1);
	const weights = new Float32Array(maxLength).fill(1);
	weights.set(multipliers, 1);
	return { ids, weights };
}
