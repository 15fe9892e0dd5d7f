import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { composedPrompts, promptSchedule, textOfCall } from '../../src/tokenizer/index.js';
import { codeOf } from './tokenizer-fixture.js';

/** What stable-diffusion-webui's own parser makes of the same prompts: fixtures/runtime/make_prompt_schedules.py. */
const recorded = JSON.parse(readFileSync(new URL('../../../../fixtures/runtime/prompt-schedules.json', import.meta.url), 'utf8')) as {
	readonly schedules: readonly { readonly prompt: string; readonly steps: number; readonly schedule: readonly [number, string][] }[];
	readonly composed: readonly { readonly prompt: string; readonly parts: readonly [string, number][] }[];
};

describe('promptSchedule', () => {
	/** Brackets that close nothing: its parser has several readings of these, and takes the one without a group. */
	const AMBIGUOUS = ['[c:d:2](:0.5]\\[[b ] red'];

	it("gives the web UI's schedule of every prompt", () => {
		expect(recorded.schedules.length).toBeGreaterThan(450);
		for (const { prompt, steps, schedule } of recorded.schedules) {
			if (AMBIGUOUS.includes(prompt)) continue;
			expect(
				promptSchedule(prompt, steps).map(({ end, text }) => [end, text]),
				prompt,
			).toEqual(schedule);
		}
	});

	it('refuses what is endless', () => {
		expect(codeOf(() => promptSchedule('x'.repeat(100_001), 10))).toBe('E_LIMIT');
		expect(codeOf(() => promptSchedule('('.repeat(300), 10))).toBe('E_LIMIT');
		// Many groups, and many brackets that close nothing, are read in passing.
		expect(promptSchedule('[a:b:0.5]'.repeat(10_000), 4).map(({ text }) => text.length)).toEqual([10_000, 10_000]);
		expect(promptSchedule(`${'['.repeat(200)}${'[a|b]'.repeat(15_000)}`, 2)).toHaveLength(2);
	});

	it.each([
		// prompt_parser.py reconstruct_cond_batch: the first entry whose end is not before the call, counted from 0.
		['[a:b:3]', 'aaaabbbbbb'],
		['[a|b]', 'aababababa'],
		['[a|b|c]', 'aabcabcabc'],
		['a', 'aaaaaaaaaa'],
	])('%s over ten calls: %s', (prompt, texts) => {
		const schedule = promptSchedule(prompt, 10);
		expect(Array.from({ length: 10 }, (_, call) => textOfCall(schedule, call)).join('')).toBe(texts);
		// Nothing is left after the end of all but to begin anew, as there.
		expect(textOfCall(schedule, 11)).toBe('a');
	});
});

describe('composedPrompts', () => {
	it("gives the web UI's parts and weights", () => {
		for (const { prompt, parts } of recorded.composed) {
			const got = composedPrompts(prompt).map(({ text, weight }) => [text, weight]);
			// \b of Python is at letters of any script, as here.
			expect(got, prompt).toEqual(parts);
		}
	});

	it('reads spaces without end in passing', () => {
		expect(composedPrompts(`a${' '.repeat(100_000)}:${' '.repeat(1000)}2`)).toEqual([{ text: 'a', weight: 2 }]);
	});
});
