import { readFileSync } from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { weightedWords } from '../../src/attention/index.js';
import { parseWeightedPrompt } from '../../src/tokenizer/index.js';
import { shapesTokenizer } from './p2p-fixture.js';

/** Chunks of AUTOMATIC1111/stable-diffusion-webui itself: fixtures/runtime/make_tokenizer.py. */
const FILE = path.join(path.dirname(fileURLToPath(import.meta.url)), '../../../../fixtures/runtime/tokenizer.json');
const recorded = (JSON.parse(readFileSync(FILE, 'utf8')) as { weighted: { prompt: string; chunks: { ids: string }[] | null }[] }).weighted;
const tokenizer = shapesTokenizer();

/** `5*3 7*1`: 5 5 5 7 */
function unpacked(runs: string): number[] {
	return runs.split(' ').flatMap((run) => {
		const [id = 0, count = 0] = run.split('*').map(Number);
		return new Array<number>(count).fill(id);
	});
}

/** Ids and places of what stands between the beginning and the first end of each chunk. */
function contents(chunks: readonly { ids: string }[]) {
	return chunks.flatMap(({ ids }, chunk) => {
		const all = unpacked(ids);
		const end = all.indexOf(tokenizer.eos);
		return all.slice(1, end).map((id, i) => ({ id, position: chunk * 77 + 1 + i }));
	});
}

// A prompt that writes an end itself has tokens behind it, which the record shows as the end of the chunk.
const prompts = recorded.flatMap(({ prompt, chunks }) => (chunks === null || prompt.includes('<|') ? [] : [{ prompt, chunks }]));

describe('words of weighted prompts', () => {
	it('has prompts of one to five chunks', () => {
		expect(new Set(prompts.map(({ chunks }) => chunks.length))).toEqual(new Set([1, 2, 3, 4, 5]));
	});

	it.each(prompts)('$prompt: every token is where the web UI puts it', ({ prompt, chunks }) => {
		const words = weightedWords(tokenizer, parseWeightedPrompt(prompt).segments);
		const want = contents(chunks);
		expect(words.tokens).toEqual(want);
		// The prompts have spaces on both sides of it, so that its token is always the word.
		const [square = 0] = tokenizer.tokenize('square');
		expect(words.find('square')).toEqual(want.filter(({ id }) => id === square).map(({ position }) => position));
	});

	it('phrases go over brackets and ends of chunks, but not over BREAK', () => {
		const find = (prompt: string, word: string) => weightedWords(tokenizer, parseWeightedPrompt(prompt).segments).find(word);
		expect(find('a (red:1.2) circle', 'red circle')).toEqual([2, 3]);
		expect(find('a red BREAK circle', 'red circle')).toEqual([]);
		expect(find('a red BREAK red circle', 'red circle')).toEqual([78, 79]);
		// 75 tokens fill a chunk: the last "red" is at 75, its "circle" behind the next beginning.
		expect(find(`${'star '.repeat(74)}red circle`, 'red circle')).toEqual([75, 78]);
		expect(find('a (re)d', 'red')).toEqual([]);
	});
});
