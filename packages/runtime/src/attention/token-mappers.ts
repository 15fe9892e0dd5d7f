import { FormatError, quote } from '@lorakit/format';
import type { ClipTokenizer } from '../tokenizer/clip-tokenizer.js';
import { spacedWords } from './word-tokens.js';

/** How the tokens of an edited prompt get their attention from those of the source. */
export interface TokenMapper {
	/** (t, t), row: token of the source, column: token of the edited prompt. */
	readonly matrix: Float32Array;
	/** (t): 1 where the source has the token, 0 where only the edited prompt has it. */
	readonly shared: Float32Array;
}

/** Every token its own. */
export function sameTokens(tokens: number): TokenMapper {
	const matrix = new Float32Array(tokens * tokens);
	for (let i = 0; i < tokens; i++) matrix[i * tokens + i] = 1;
	return { matrix, shared: new Float32Array(tokens).fill(1) };
}

/**
 * Word for word: a word in the place of another takes its attention; where they have another number of tokens, each new
 * token takes 1 / (number of new ones) of the sum.
 *
 * The rule is that of google/prompt-to-prompt, seq_aligner.py, get_replacement_mapper_, also in what it does behind the
 * last word that differs: token j of the edited prompt takes token j of the source, even when the replaced word had
 * another number of tokens and the words therefore stand one off. (Results of the authors' code are the reference.)
 *
 * @throws {FormatError} `E_USAGE` when the prompts have not as many words; those of `spacedWords`.
 */
export function replaceMapper(tokenizer: ClipTokenizer, source: string, edited: string): TokenMapper {
	const [from, to] = [spacedWords(tokenizer, source), spacedWords(tokenizer, edited)];
	if (from.length !== to.length) {
		throw new FormatError(
			'E_USAGE',
			`${quote(source)} has ${from.length} words and ${quote(edited)} has ${to.length}; to replace words both need as many. Use refine for words that are added.`,
		);
	}
	const swapped = from.flatMap(({ text, positions }, i) => {
		const other = to[i];
		return other === undefined || other.text === text ? [] : [{ old: positions, fresh: other.positions }];
	});
	const tokens = tokenizer.maxLength;
	const matrix = new Float32Array(tokens * tokens);
	let [i, j] = [0, 0];
	while (i < tokens && j < tokens) {
		const [next] = swapped;
		if (next?.old[0] === i) {
			const { old, fresh } = next;
			const even = old.length === fresh.length;
			for (const [a, row] of old.entries()) {
				for (const [b, column] of fresh.entries()) {
					if (!even || a === b) matrix[row * tokens + column] = even ? 1 : 1 / fresh.length;
				}
			}
			i += old.length;
			j += fresh.length;
			swapped.shift();
			continue;
		}
		matrix[(next === undefined ? j : i) * tokens + j] = 1;
		i++;
		j++;
	}
	return { matrix, shared: new Float32Array(tokens).fill(1) };
}

/**
 * By the best alignment of both token sequences (start and end token included): tokens that both have keep the source's
 * attention, tokens that only the edited prompt has keep their own. Positions behind its end keep theirs from the source.
 *
 * Alignment: gap 0, match 1, mismatch -1; of equal scores a token that only the edited prompt has is preferred, then one
 * that only the source has (google/prompt-to-prompt, seq_aligner.py, global_align).
 *
 * @throws {FormatError} `E_USAGE` as `spacedWords`.
 */
export function refineMapper(tokenizer: ClipTokenizer, source: string, edited: string): TokenMapper {
	const tokens = tokenizer.maxLength;
	const [x, y] = [source, edited].map((text) => {
		spacedWords(tokenizer, text);
		return [tokenizer.bos, ...tokenizer.tokenize(text), tokenizer.eos];
	}) as [number[], number[]];
	const matrix = new Float32Array(tokens * tokens);
	const shared = new Float32Array(tokens).fill(1);
	for (const [j, i] of align(x, y).entries()) {
		if (i === undefined) shared[j] = 0;
		else matrix[i * tokens + j] = 1;
	}
	for (let j = y.length; j < tokens; j++) matrix[j * tokens + j] = 1;
	return { matrix, shared };
}

/** For each of y its place in x, undefined where it has none. */
function align(x: readonly number[], y: readonly number[]): (number | undefined)[] {
	const width = y.length + 1;
	const score = new Int32Array((x.length + 1) * width);
	const at = (i: number, j: number): number => score[i * width + j] ?? 0;
	const match = (i: number, j: number): number => at(i - 1, j - 1) + (x[i - 1] === y[j - 1] ? 1 : -1);
	for (let i = 1; i <= x.length; i++) {
		for (let j = 1; j <= y.length; j++) score[i * width + j] = Math.max(at(i, j - 1), at(i - 1, j), match(i, j));
	}
	const places = new Array<number | undefined>(y.length).fill(undefined);
	let [i, j] = [x.length, y.length];
	while (i > 0 && j > 0) {
		const best = at(i, j);
		if (best === at(i, j - 1)) j--;
		else if (best === at(i - 1, j)) i--;
		else places[--j] = --i;
	}
	return places;
}
