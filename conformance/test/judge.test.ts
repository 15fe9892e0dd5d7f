import { describe, expect, it } from 'vitest';
import { judge } from '../src/judge/judge.js';
import { gradeOf, measure } from '../src/judge/measure.js';
import { roundTo, ulpOf, unitRoundoff } from '../src/judge/number-format.js';
import { decode } from '../src/judge/tensor-file.js';
import type { JudgeInput } from '../src/judge/verdict.js';
import { parseAnswer } from '../src/subject/answer.js';
import { LineReader } from '../src/subject/line-reader.js';
import type { Case, Expect } from '../src/suite/case.js';
import { compilePattern, parseKnownFailing } from '../src/suite/select-cases.js';

describe('number formats', () => {
	// Values of IEEE 754 binary16 and of bfloat16, by hand.
	it.each([
		['f16', 1, 2 ** -10],
		['f16', 65504, 32],
		['f16', 2 ** -20, 2 ** -24],
		['bf16', 1, 2 ** -7],
		['bf16', 3.3e38, 2 ** 120],
		['f32', 1, 2 ** -23],
		['f32', 0, 2 ** -149],
	] as const)('ulp in %s of %d', (precision, x, ulp) => expect(ulpOf(precision, x)).toBe(ulp));

	it.each([
		['f16', 1 + 2 ** -11, 1],
		['f16', 1 + 3 * 2 ** -11, 1 + 2 ** -9],
		['f16', 65519, 65504],
		['f16', 65520, Number.POSITIVE_INFINITY],
		['f16', -(2 ** -25), -0],
		['bf16', 1 + 2 ** -8, 1],
		['bf16', -(1 + 3 * 2 ** -8), -(1 + 2 ** -6)],
		['f32', 1 + 2 ** -24, 1],
	] as const)('%s of %d', (precision, x, rounded) => expect(roundTo(precision, x)).toBe(rounded));

	it('unit roundoffs', () =>
		expect([unitRoundoff('f32'), unitRoundoff('f16'), unitRoundoff('bf16')]).toEqual([2 ** -24, 2 ** -11, 2 ** -8]));

	it('halves', () => {
		expect([...decode('F16', Uint8Array.of(0, 0x3c, 0xff, 0x7b, 1, 0, 0, 0xfc))]).toEqual([1, 65504, 2 ** -24, Number.NEGATIVE_INFINITY]);
		expect([...decode('BF16', Uint8Array.of(0x80, 0x3f, 0x40, 0xc0))]).toEqual([1, -3]);
	});
});

describe('measure', () => {
	const of = (...values: readonly number[]): Float64Array => Float64Array.from(values);

	it('gain and cosine are of the difference', () => {
		const m = measure({ name: 'w', start: of(10, 20), expected: of(11, 22), got: of(12, 24), precision: 'f32', allowance: { ulp: 2 } });
		expect(m).toMatchObject({ gain: 2, cosine: 1, error: 2, over: 2 });
	});

	it('the allowance is the sum of its parts', () => {
		const input = { name: 'w', expected: of(4, 0), precision: 'f32' } as const;
		// 0.1 + 0.05 * 4 = 0.3
		expect(measure({ ...input, got: of(4, 0.3), allowance: { abs: 0.1, rel: 0.05 } }).share).toBeCloseTo(1, 12);
		// gamma(2) * 8 at u = 2^-24
		const gamma = (2 * 2 ** -24) / (1 - 2 * 2 ** -24);
		expect(measure({ ...input, got: of(4, 8 * gamma), magnitude: 8, allowance: { gamma: 2 } }).share).toBeCloseTo(1, 12);
	});

	it('NaN and Inf are never right', () => {
		for (const bad of [Number.NaN, Number.POSITIVE_INFINITY]) {
			expect(measure({ name: 'w', expected: of(1), got: of(bad), precision: 'f32', allowance: { abs: 1e9 } }).share).toBe(
				Number.POSITIVE_INFINITY,
			);
		}
	});

	it('a wrong gain is wrong where the elements are not', () => {
		const m = measure({
			name: 'w',
			start: of(1),
			expected: of(1.01),
			got: of(1.0101),
			precision: 'bf16',
			allowance: { ulp: 2, gain: 1e-3 },
		});
		expect(m.share).toBeCloseTo(10, 3);
	});

	it.each([
		[0.5, 'A'],
		[0.51, 'A'],
		[1.01, 'B'],
		[1.81, 'C'],
		[2.01, '-'],
	] as const)('%d scaled ulps are grade %s', (ulps, grade) => expect(gradeOf(ulps)).toBe(grade));
});

describe('a scaling that is not finite', () => {
	const answer = parseAnswer(
		new Map<string, unknown>([
			['ok', true],
			['scaling', { a: null, b: 0.5 }],
		]),
	);
	const judged = (expect: Expect) =>
		judge({
			...{ case: { request: { op: 'scaling' } } as Case, expect, answer: answer as JudgeInput['answer'], precision: 'f32', allowance: {} },
			...{ file: (ref: string) => ref, output: (name: string) => name },
		});

	it('is an answer', () =>
		expect(answer).toMatchObject({
			kind: 'ok',
			scaling: new Map([
				['a', Number.NaN],
				['b', 0.5],
			]),
		}));

	it('is wrong where a number is due, by that module alone', async () => {
		const verdict = await judged({ scaling: { a: 0.5, b: 0.5 } });
		expect(verdict).toMatchObject({ status: 'failed', message: 'the scaling of "a" is 0.5, the subject says that it is not finite' });
		expect(verdict.wrong).toMatchObject([{ name: 'a', nonFinite: 1, error: 0 }]);
		// Reports are JSON: no NaN in the numbers of a case.
		expect(JSON.parse(JSON.stringify(verdict.measure))).toMatchObject({ error: 0, share: -1, gain: null });
	});

	it('is accepted, not a fault of the program, where a refusal is due', async () => {
		expect(await judged({ refuse: true })).toMatchObject({ status: 'failed', hint: 'accepted' });
	});
});

describe('patterns', () => {
	it.each([
		['L2/*', 'L2/kohya', true],
		['L2/*', 'L2/kohya/a', false],
		['L2/**', 'L2/kohya/a', true],
		['L2/kohya', 'L2/kohya/a', true],
		['L2/kohya', 'L2/kohya-x/a', false],
		['**/alpha-*', 'L2/kohya/alpha-half', true],
		['L2/a.b', 'L2/axb', false],
	])('%s on %s', (pattern, id, fits) => expect(compilePattern(pattern)(id)).toBe(fits));

	it('a known-failing list', () => {
		const list = parseKnownFailing('# head\r\n\nL2/a  https://example.org/1 # why\nL3/**\n');
		expect(list.map(({ pattern, line, url }) => [pattern, line, url])).toEqual([
			['L2/a', 3, 'https://example.org/1'],
			['L3/**', 4, undefined],
		]);
	});
});

describe('lines', () => {
	it('across chunks, and a flood', () => {
		const lines: string[] = [];
		const floods: string[] = [];
		const reader = new LineReader(
			{ line: 10, total: 100 },
			(line) => lines.push(line),
			(reason) => floods.push(reason),
		);
		for (const part of ['ab', 'c\nde', '\n\n', 'x'.repeat(10), '\n']) reader.push(Buffer.from(part));
		expect(lines).toEqual(['abc', 'de', '', 'x'.repeat(10)]);
		reader.push(Buffer.from('y'.repeat(11)));
		reader.push(Buffer.from('\nlater\n'));
		expect([floods, lines.length]).toEqual([['line too long'], 4]);
	});
});
