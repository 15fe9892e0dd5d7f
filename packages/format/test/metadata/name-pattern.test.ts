import { describe, expect, it } from 'vitest';
import { FormatError } from '../../src/errors.js';
import { namePattern, patternBudget } from '../../src/metadata/name-pattern.js';
import { peftResolver } from '../../src/metadata/peft-scaling.js';

const Q = 'down_blocks.0.attn1.to_q';

describe('namePattern is re.match(r"(.*\\.)?(KEY)$")', () => {
	// Each expected value was computed with Python 3.11's re.
	it.each([
		['to_q', Q, true],
		['o_q', Q, false],
		['attn1.to_q', Q, true],
		['attn.to_q', Q, false],
		[Q, Q, true],
		[`^${Q}`, Q, true],
		[`^${Q}`, `x.${Q}`, false],
		['^to_q', Q, false],
		['to_q', 'to_q', true],
		['attn1\\.to_q', Q, true],
		['attn1_to_q', 'a.attn1.to_q', false],
		['attn1.to_q', 'a.attn1_to_q', true],
		['attn[0-9]+.to_(q|k)', Q, true],
		['attn\\d\\.to_[^q]', Q, false],
		['.*', Q, true],
		['.*attn.*', Q, true],
		['down_blocks.*to_q', Q, true],
		['(down|up)_blocks\\.\\d+\\..*', Q, true],
		['(?:a|b){2}', 'x.ab', true],
		['(?:a|b){3}', 'x.ab', false],
		['a{1,3}', 'x.aa', true],
		['a{,2}', 'aaa', false],
		['to_q$', Q, true],
		['to_q|to_k', 'a.to_k', true],
		['', 'a.', true],
		['', 'a', false],
		['[]a]+', 'x.]a', true],
		['a{x}', 'a{x}', true],
		['\\w+', Q, true],
	])('%s on %s: %s', (pattern, name, expected) => {
		expect(namePattern(pattern, patternBudget()).matches(name)).toBe(expected);
	});

	it.each(['(a', 'a)', '[a', '*a', '(?=a)', '(?P<n>a)', '\\1', '\\b', 'a\\', '[z-a]', 'a{3,1}', '^*', 'a++'])(
		'%s is refused',
		(pattern) => {
			expect(() => namePattern(pattern, patternBudget())).toThrow(FormatError);
		},
	);

	it.each(['('.repeat(100) + ')'.repeat(100), 'a'.repeat(5000), '((a{999}){999}){999}'])('limits (%#)', (pattern) => {
		expect(() => namePattern(pattern, patternBudget())).toThrow(expect.objectContaining({ code: 'E_LIMIT' }));
	});

	it('runs in linear time on what makes backtracking engines hang', () => {
		const budget = patternBudget();
		expect(namePattern('(a+)+b', budget).matches('a'.repeat(5000))).toBe(false);
		expect(budget.steps).toBeGreaterThan(19_000_000);
	});
});

describe('hostile patterns end soon', () => {
	const names = Array.from({ length: 2000 }, (_, k) => `model.layers.${k}.self_attn.q_proj`);
	const resolveAll = (patterns: readonly string[]): readonly (number | null)[] => {
		const rankPattern = new Map(patterns.map((p, k) => [p, k + 1]));
		const resolve = peftResolver({ r: 8, alpha: 8, rslora: false, rankPattern, alphaPattern: new Map() });
		return names.map((name) => resolve(name).rank);
	};

	it.each([
		['a repeat of nothing, a thousand times nested', ['((((){9999}){9999}){9999}){9999}']],
		['sets of four thousand characters', Array.from({ length: 20 }, (_, k) => `.*[${'A'.repeat(4000)}]*${k}x+`)],
		['a hundred thousand large patterns', Array.from({ length: 100_000 }, (_, k) => `(m${k}){900}`)],
		['half a million names of one length', Array.from({ length: 500_000 }, (_, k) => `q_${100_000 + k}`.padStart(6, '0').slice(-6))],
	])('%s', (_, patterns) => {
		expect(() => resolveAll(patterns)).toThrow(expect.objectContaining({ code: 'E_LIMIT' }));
	});

	it('thousands of plain names for thousands of modules are fine', () => {
		expect(resolveAll(names)).toEqual(names.map((_, k) => k + 1));
	});

	it('the first in the text decides, plain or not', () => {
		const rank = (...patterns: readonly string[]): number => {
			const rankPattern = new Map(patterns.map((p, k) => [p, k + 1]));
			return peftResolver({ r: 8, alpha: 8, rslora: false, rankPattern, alphaPattern: new Map() })('a.b.c').rank;
		};
		expect([rank('c', 'b.c', '.*'), rank('x', 'b.c', 'c'), rank('.*c', 'c'), rank('x', 'y', 'b.+', 'c'), rank('x')]).toEqual([
			1, 2, 1, 3, 8,
		]);
	});
});
