import { describe, expect, it } from 'vitest';
import { refineMapper, replaceMapper, spacedWords, wordTokens } from '../../src/attention/index.js';
import { p2p, shapesTokenizer } from './p2p-fixture.js';

const tokenizer = shapesTokenizer();
const N = tokenizer.maxLength;

describe('mappers are those of the authors (google/prompt-to-prompt, seq_aligner.py)', () => {
	it.each(p2p.mappers.replace)('replace: $source -> $edited', ({ source, edited, cells }) => {
		const { matrix, shared } = replaceMapper(tokenizer, source, edited);
		const own = Array.from(matrix, (x, i) => [Math.floor(i / N), i % N, x]).filter(([, , x]) => x !== 0);
		expect(own).toEqual(cells);
		expect(shared.every((x) => x === 1)).toBe(true);
	});

	it.each(p2p.mappers.refine)('refine: $source -> $edited', ({ source, edited, mapper, alphas }) => {
		const { matrix, shared } = refineMapper(tokenizer, source, edited);
		expect([...shared]).toEqual(alphas);
		for (const [j, i] of mapper.entries()) {
			const column = Array.from({ length: N }, (_, row) => matrix[row * N + j]);
			expect(column).toEqual(Array.from({ length: N }, (_, row) => (row === i ? 1 : 0)));
		}
	});
});

describe('words', () => {
	it.each(p2p.words)('$word in "$prompt" is where the authors find it', ({ prompt, word, tokens }) => {
		expect(wordTokens(tokenizer, prompt, word)).toEqual(tokens);
	});

	it('is found beside punctuation, in any case, and as a phrase, but not inside a word', () => {
		expect(wordTokens(tokenizer, 'a red Circle, left', 'circle')).toEqual([3]);
		expect(wordTokens(tokenizer, 'a red circle and a red star', 'Red star')).toEqual([6, 7]);
		// "hexagon" is of several tokens; its last one alone is no word of the prompt.
		const last = tokenizer.decode([tokenizer.tokenize('hexagon').at(-1) ?? 0]);
		expect(() => wordTokens(tokenizer, 'a hexagon', last)).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
		expect(() => wordTokens(tokenizer, 'a red circle', '')).toThrow(expect.objectContaining({ code: 'E_USAGE' }));
	});

	it('a learned token stays whole', () => {
		const learned = tokenizer.addTokens([{ token: '<my-shape>', vectors: 3 }]);
		expect(wordTokens(learned, 'a red <my-shape> left', '<my-shape>')).toEqual([3, 4, 5]);
		expect(wordTokens(learned, 'a red <my-shape> left', 'left')).toEqual([6]);
	});

	it('refuses prompts that do not fit', () => {
		const long = 'red '.repeat(N - 1);
		for (const act of [
			() => spacedWords(tokenizer, long),
			() => refineMapper(tokenizer, 'red', long),
			() => replaceMapper(tokenizer, long, long),
		]) {
			expect(act).toThrow(expect.objectContaining({ code: 'E_USAGE', message: expect.stringContaining(`${N - 1} tokens`) }));
		}
		expect(() => replaceMapper(tokenizer, 'a red circle', 'a circle')).toThrow(
			expect.objectContaining({ code: 'E_USAGE', message: expect.stringContaining('3 words') }),
		);
	});
});
