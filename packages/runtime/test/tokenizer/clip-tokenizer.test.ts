import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { createClipTokenizer, MAX_PROMPT_CHARACTERS } from '../../src/tokenizer/index.js';
import { mergeWord } from '../../src/tokenizer/merge-word.js';
import { pairKey, readVocabulary, type Vocabulary } from '../../src/tokenizer/read-vocabulary.js';
import { codeOf, merges, recorded, shapesTokenizer, unspell, vocab } from './tokenizer-fixture.js';

describe.each(recorded.folders)('a tokenizer folder as transformers reads it: $name', (folder) => {
	const [config, specialTokens, addedTokens] = folder.files.map((file) => file ?? undefined);
	const tokenizer = createClipTokenizer({ vocab, merges, config, specialTokens, addedTokens });

	it('has the same special tokens', () => {
		const { bos, eos, pad, size, maxLength } = tokenizer;
		expect({ bos, eos, pad, size, maxLength }).toEqual({
			bos: folder.bos,
			eos: folder.eos,
			pad: folder.pad,
			size: folder.size,
			maxLength: folder.max_length,
		});
	});

	it('gives the same ids and texts', () => {
		for (const row of folder.rows) {
			const ids = unspell(row.ids);
			expect([...tokenizer.tokenize(row.text)], row.text).toEqual(ids);
			const encoded = tokenizer.encode(row.text);
			if (row.padded !== null) expect([...encoded.ids], row.text).toEqual(unspell(row.padded));
			expect(encoded.truncated, row.text).toBe(row.truncated ?? undefined);
			expect(tokenizer.decode([tokenizer.bos, ...ids, tokenizer.eos]), row.text).toBe(row.decoded);
		}
	});
});

describe('placeholder tokens', () => {
	const { names, ids, rows, parts } = recorded.placeholders;
	const tokenizer = shapesTokenizer().addTokens([{ token: '<Toy>', vectors: 3 }, '<s1>', 'sks2']);

	it('get the ids that transformers gives them', () => {
		expect(names.map((name) => tokenizer.added.get(name))).toEqual(ids);
		expect(tokenizer.size).toBe((ids.at(-1) ?? 0) + 1);
	});

	it('stand for all their vectors wherever they are, in any case of letters', () => {
		for (const row of [...rows, ...parts]) expect([...tokenizer.tokenize(row.text)], row.text).toEqual(row.ids);
	});

	it('leave the tokenizer they were added to as it was, and can be added to again', () => {
		const plain = shapesTokenizer();
		const before = [...plain.tokenize('a <a> b <b>')];
		const first = plain.addTokens(['<a>']);
		const second = first.addTokens(['<b>']);
		expect([...plain.tokenize('a <a> b <b>')]).toEqual(before);
		expect([...first.added, ...second.added]).toEqual([
			['<a>', plain.size],
			['<b>', plain.size + 1],
		]);
		expect([...second.tokenize('<b><a>')]).toEqual([plain.size + 1, plain.size]);
		expect(second.decode([plain.size, plain.size + 1])).toBe('<a><b>');
	});

	it('are refused where they are there already or are none', () => {
		const plain = shapesTokenizer();
		for (const token of ['', '  ', 'x'.repeat(1001), 'circle</w>', '<|endoftext|>', '<|EndOfText|>']) {
			expect(
				codeOf(() => plain.addTokens([token])),
				token,
			).toBe('E_USAGE');
		}
		expect(codeOf(() => plain.addTokens(['<a>', '<A>']))).toBe('E_USAGE');
		expect(codeOf(() => plain.addTokens([{ token: '<a>', vectors: 2 }, '<a>_1']))).toBe('E_USAGE');
		for (const vectors of [0, -1, 0.5, Number.NaN]) expect(codeOf(() => plain.addTokens([{ token: '<a>', vectors }]))).toBe('E_USAGE');
		expect(codeOf(() => plain.addTokens([{ token: '<a>', vectors: 2 ** 17 }]))).toBe('E_LIMIT');
	});
});

/** Byte-pair encoding by the book: as long as there is one, the pair of lowest rank is merged wherever it stands, left to right. */
function mergeByTheBook(vocabulary: Vocabulary, word: string, unknown: number): number[] {
	const bytes = [...new TextEncoder().encode(word)];
	let ids = bytes.map((byte, i) => (i === bytes.length - 1 ? vocabulary.lastBytes : vocabulary.bytes)[byte] ?? unknown);
	for (;;) {
		const found = ids.slice(1).map((id, i) => vocabulary.ranks.get(pairKey(ids[i] ?? 0, id)) ?? Number.POSITIVE_INFINITY);
		const rank = Math.min(...found);
		if (!Number.isFinite(rank)) return ids;
		const out: number[] = [];
		for (let i = 0; i < ids.length; i++) {
			const pair = i + 1 < ids.length && vocabulary.ranks.get(pairKey(ids[i] ?? 0, ids[i + 1] ?? 0)) === rank;
			out.push(pair ? (vocabulary.merged[rank] ?? 0) : (ids[i] ?? 0));
			if (pair) i++;
		}
		ids = out;
	}
}

describe('mergeWord', () => {
	it('gives what merging pass by pass gives', () => {
		const vocabulary = readVocabulary(vocab, merges);
		const letters = fc.string({ unit: fc.constantFrom(...'theanircosqutlé日'), minLength: 1, maxLength: 40 });
		fc.assert(
			fc.property(letters, (word) => {
				expect(mergeWord(vocabulary, word, 7)).toEqual(mergeByTheBook(vocabulary, word, 7));
			}),
			{ numRuns: 500 },
		);
	});

	it('handles repeated pairs and vocabularies without some bytes', () => {
		const tokens = ['a', 'a</w>', 'aa', 'aa</w>', 'aaaa', 'x'];
		const small = readVocabulary(
			JSON.stringify(Object.fromEntries(tokens.map((token, id) => [token, id]))),
			'#version: 0.2\na a\na a</w>\naa aa\n',
		);
		for (const length of [1, 2, 3, 4, 5, 6, 7, 8, 9, 31]) {
			expect(mergeWord(small, 'a'.repeat(length), 5)).toEqual(mergeByTheBook(small, 'a'.repeat(length), 5));
		}
		expect(mergeWord(small, 'aba', 5)).toEqual([0, 5, 1]);
		expect(mergeWord(small, 'b', 5)).toEqual([5]);
	});
});

describe('what a tokenizer refuses', () => {
	it.each([
		['vocab.json that is not JSON', { vocab: '{' }, 'E_CONFIG'],
		['vocab.json that is a list', { vocab: '[]' }, 'E_CONFIG'],
		['vocab.json that is empty', { vocab: '{}' }, 'E_LIMIT'],
		['an id that is text', { vocab: '{"a":"0"}' }, 'E_CONFIG'],
		['an id with a fraction', { vocab: '{"a":0.5}' }, 'E_CONFIG'],
		['a negative id', { vocab: '{"a":-1}' }, 'E_CONFIG'],
		['an id beyond the tokens', { vocab: '{"a":0,"b":4000000000}' }, 'E_CONFIG'],
		['an id given twice', { vocab: '{"a":0,"b":0}' }, 'E_CONFIG'],
		['a merge of one token', { merges: 'the\n' }, 'E_CONFIG'],
		['a merge of three tokens', { merges: 't h e\n' }, 'E_CONFIG'],
		['an empty line between merges', { merges: 't h\n\na n\n' }, 'E_CONFIG'],
		['a merge of unknown tokens', { merges: 'zzq zzq\n' }, 'E_CONFIG'],
		['a configuration that is not JSON', { config: 'no' }, 'E_CONFIG'],
		['a configuration that is a list', { config: '[]' }, 'E_CONFIG'],
		['a length that is none', { config: '{"model_max_length":2}' }, 'E_CONFIG'],
		['a length that is text', { config: '{"model_max_length":"77"}' }, 'E_CONFIG'],
		['a huge length', { config: '{"model_max_length":70000}' }, 'E_LIMIT'],
		['a pad token that no row stands for', { config: '{"pad_token":"[PAD]"}' }, 'E_CONFIG'],
		['a pad token that is a number', { config: '{"pad_token":3}' }, 'E_CONFIG'],
		['an empty special token', { config: '{"bos_token":""}' }, 'E_CONFIG'],
		['added tokens with a gap', { addedTokens: '{"<a>":5000}' }, 'E_CONFIG'],
		['an added token with another id than the vocabulary', { addedTokens: '{"<|endoftext|>":1988}' }, 'E_CONFIG'],
		['an added token without an id', { addedTokens: '{"<a>":"x"}' }, 'E_CONFIG'],
		['an added token that is a list', { config: '{"added_tokens_decoder":{"1988":[]}}' }, 'E_CONFIG'],
		['an added token of whole words', { config: '{"added_tokens_decoder":{"1988":{"content":"a","single_word":true}}}' }, 'E_CONFIG'],
	])('%s', (_, files, code) => {
		expect(codeOf(() => shapesTokenizer(files))).toBe(code);
	});

	it('reads merges with Windows line ends, and a vocabulary with names of Object.prototype', () => {
		expect([...shapesTokenizer({ merges: merges.replaceAll('\n', '\r\n') }).tokenize('a red circle')]).toEqual([
			...shapesTokenizer().tokenize('a red circle'),
		]);
		const odd = '{"__proto__":0,"constructor":1,"<|startoftext|>":2,"<|endoftext|>":3}';
		expect([...createClipTokenizer({ vocab: odd, merges: '' }).tokenize('a toString')]).toEqual([3, ...new Array<number>(8).fill(3)]);
	});

	it('prompts beyond the limit, and takes those at it', () => {
		const tokenizer = shapesTokenizer();
		expect(codeOf(() => tokenizer.tokenize('x'.repeat(MAX_PROMPT_CHARACTERS + 1)))).toBe('E_LIMIT');
		// One word of the limit's length: 100,000 letters in, no letter lost.
		expect(tokenizer.decode(tokenizer.tokenize('xq'.repeat(MAX_PROMPT_CHARACTERS / 2)))).toBe('xq'.repeat(MAX_PROMPT_CHARACTERS / 2));
	});

	it('ids that are none', () => {
		const tokenizer = shapesTokenizer();
		for (const id of [-1, tokenizer.size, 0.5]) expect(codeOf(() => tokenizer.decode([id]))).toBe('E_USAGE');
	});

	it('takes lone surrogates for U+FFFD', () => {
		const tokenizer = shapesTokenizer();
		expect([...tokenizer.tokenize('a\ud800b')]).toEqual([...tokenizer.tokenize('a\ufffdb')]);
	});
});
