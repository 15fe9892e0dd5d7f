import { describe, expect, it } from 'vitest';
import { chunkTokens, type PromptSegment, parseWeightedPrompt } from '../../src/tokenizer/index.js';
import { codeOf, recorded, shapesTokenizer, unspell } from './tokenizer-fixture.js';

/** Segments in the original's form: BREAK weighs -1. */
function pairs(segments: readonly PromptSegment[]): [string, number][] {
	return segments.map((segment) => (segment.kind === 'break' ? ['BREAK', -1] : [segment.text, segment.weight]));
}

describe('parseWeightedPrompt', () => {
	it.each([
		['normal text', [['normal text', 1]]],
		[
			'an (important) word',
			[
				['an ', 1],
				['important', 1.1],
				[' word', 1],
			],
		],
		['(unbalanced', [['unbalanced', 1.1]]],
		['\\(literal\\]', [['(literal]', 1]]],
		['(unnecessary)(parens)', [['unnecessaryparens', 1.1]]],
		[
			'a (((house:1.3)) [on] a (hill:0.5), sun, (((sky))).',
			[
				['a ', 1],
				['house', 1.1 * 1.1 * 1.3],
				[' ', 1.1],
				['on', 1],
				[' a ', 1.1],
				['hill', 0.55],
				[', sun, ', 1.1],
				['sky', 1.1 ** 4],
				['.', 1.1],
			],
		],
	] as const)('reads the documented example %s', (prompt, expected) => {
		const got = pairs(parseWeightedPrompt(prompt).segments);
		expect(got.map(([text]) => text)).toEqual(expected.map(([text]) => text));
		// The products are float64, in an order of their own.
		expected.forEach(([, weight], i) => {
			expect(got[i]?.[1]).toBeCloseTo(weight, 14);
		});
	});

	it("gives the original's parts and weights to the last bit", () => {
		for (const { prompt, parsed } of recorded.weighted) {
			if (parsed === null)
				expect(
					codeOf(() => parseWeightedPrompt(prompt)),
					prompt,
				).toBe('E_USAGE');
			else expect(pairs(parseWeightedPrompt(prompt).segments), prompt).toEqual(parsed);
		}
	});

	it('breaks inside brackets too', () => {
		expect(parseWeightedPrompt('(a BREAK b:1.2)').segments).toEqual([
			{ kind: 'text', text: 'a', weight: 1.2 },
			{ kind: 'break' },
			{ kind: 'text', text: 'b', weight: 1.2 },
		]);
		expect(parseWeightedPrompt('a BREAKS _BREAK éBREAK').segments).toEqual([{ kind: 'text', text: 'a BREAKS _BREAK éBREAK', weight: 1 }]);
	});

	it.each([
		['<lora:foo>', { name: 'foo', textEncoder: 1, unet: 1 }],
		['<lora:foo:0.8>', { name: 'foo', textEncoder: 0.8, unet: 0.8 }],
		['<lora:foo:0.8:0.5>', { name: 'foo', textEncoder: 0.8, unet: 0.5 }],
		['<lora:foo:unet=0.5>', { name: 'foo', textEncoder: 1, unet: 0.5 }],
		['<lora:foo:0.3:te=0.2>', { name: 'foo', textEncoder: 0.2, unet: 0.2 }],
		['<lyco:foo bar-1.5:te=-1:unet=.5>', { name: 'foo bar-1.5', textEncoder: -1, unet: 0.5 }],
	])('takes %s out of the prompt', (written, lora) => {
		expect(parseWeightedPrompt(`a ${written}(b:1.2)`)).toEqual({
			segments: [
				{ kind: 'text', text: 'a ', weight: 1 },
				{ kind: 'text', text: 'b', weight: 1.2 },
			],
			loras: [lora],
			unsupported: [],
		});
	});

	it('names what it does not do', () => {
		const { loras, unsupported } = parseWeightedPrompt(
			'<hypernet:x:1> <lora:a:1:1:8> <lora:b:lbw=IN> [cat:dog:0.5] [a|b] x AND y \\[a|b\\] [plain] BRAND',
		);
		expect(loras.map(({ name }) => name)).toEqual(['a', 'b']);
		expect(unsupported).toEqual(['<hypernet:x:1>', '<lora:a:1:1:8>', '<lora:b:lbw=IN>', '[cat:dog:0.5]', '[a|b]', 'AND']);
	});

	it('refuses weights that are no numbers, and prompts beyond the limits', () => {
		for (const prompt of [
			'(a:1.2.3)',
			'(a:.)',
			`(a:${'9'.repeat(400)})`,
			'<lora:a:x>',
			'<lora:a:inf>',
			'<lora:te=1>',
			'<lora: :1>',
			'<lora:a:>',
		]) {
			expect(
				codeOf(() => parseWeightedPrompt(prompt)),
				prompt,
			).toBe('E_USAGE');
		}
		expect(codeOf(() => parseWeightedPrompt('x'.repeat(100_001)))).toBe('E_LIMIT');
		expect(codeOf(() => parseWeightedPrompt('('.repeat(257)))).toBe('E_LIMIT');
		expect(parseWeightedPrompt(`${'('.repeat(256)}a`).segments).toHaveLength(1);
	});

	it.each([
		[' ', undefined],
		['(a)', undefined],
		['a:', undefined],
		['\\', undefined],
		['<lora:', undefined],
		['<lora:a>', undefined],
		['[a|b] ', undefined],
		[':1.2)', undefined],
		['BREAK ', undefined],
		['(a', 'E_LIMIT'],
		['[a:', 'E_LIMIT'],
		['((((((((a))))))))', undefined],
	])('takes 100,000 characters of %j', (piece, code) => {
		expect(codeOf(() => parseWeightedPrompt(piece.repeat(100_000 / piece.length)))).toBe(code);
	});
});

describe('chunkTokens', () => {
	it("gives the original's chunks and weights", () => {
		const tokenizer = shapesTokenizer();
		for (const { prompt, chunks } of recorded.weighted) {
			if (chunks === null) continue;
			const got = chunkTokens(tokenizer, parseWeightedPrompt(prompt).segments);
			expect(
				got.map(({ ids }) => [...ids]),
				prompt,
			).toEqual(chunks.map(({ ids }) => unspell(ids)));
			expect(
				got.map(({ weights }) => [...weights]),
				prompt,
			).toEqual(chunks.map(({ weights }) => [...Float32Array.from(unspell(weights))]));
		}
	});

	it('pads behind the first eos where padding is another token', () => {
		const tokenizer = shapesTokenizer({ config: '{"pad_token":"!","model_max_length":77}' });
		const [chunk, ...others] = chunkTokens(tokenizer, parseWeightedPrompt('(circle)').segments);
		expect(others).toEqual([]);
		expect([...(chunk?.ids ?? [])]).toEqual([...tokenizer.encode('circle').ids]);
		expect([...(chunk?.weights ?? [])]).toEqual([1, Math.fround(1.1), ...new Array<number>(75).fill(1)]);
	});

	it('keeps the vectors of a placeholder together', () => {
		const tokenizer = shapesTokenizer().addTokens([{ token: '<toy>', vectors: 4 }]);
		const first = tokenizer.added.get('<toy>') ?? -1;
		const chunks = chunkTokens(tokenizer, parseWeightedPrompt(`${'circle '.repeat(73)}<toy> circle`).segments);
		const circle = tokenizer.tokenize('circle')[0];
		expect([...(chunks[0]?.ids ?? [])]).toEqual([tokenizer.bos, ...new Array(73).fill(circle), ...new Array(3).fill(tokenizer.eos)]);
		expect([...(chunks[1]?.ids.subarray(0, 7) ?? [])]).toEqual([
			tokenizer.bos,
			first,
			first + 1,
			first + 2,
			first + 3,
			circle,
			tokenizer.eos,
		]);
		const wide = shapesTokenizer().addTokens([{ token: '<toy>', vectors: 100 }]);
		expect(chunkTokens(wide, parseWeightedPrompt('<toy>').segments).map(({ ids }) => ids.indexOf(wide.eos) - 1)).toEqual([75, 25]);
	});
});
