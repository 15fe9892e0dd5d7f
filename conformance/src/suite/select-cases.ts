import { UsageError } from '../usage-error.js';
import { type Case, LEVELS, type Level } from './case.js';

export interface Selection {
	/** Levels up to and with this one. */
	readonly level?: Level | undefined;
	/** Patterns of ids; a case is taken when one fits. None: all. */
	readonly filter?: readonly string[] | undefined;
}

/** @throws {UsageError} for a filter that fits no case. */
export function selectCases(cases: readonly Case[], selection: Selection): readonly Case[] {
	const { level, filter = [] } = selection;
	const top = level === undefined ? LEVELS.length : LEVELS.indexOf(level);
	const tests = filter.map((pattern) => ({ pattern, test: compilePattern(pattern) }));
	for (const { pattern, test } of tests) {
		if (!cases.some((c) => test(c.id)))
			throw new UsageError(`The filter "${pattern}" fits no case; "lora-conformance list" prints the ids.`);
	}
	return cases.filter((c) => LEVELS.indexOf(c.level) <= top && (tests.length === 0 || tests.some(({ test }) => test(c.id))));
}

/** `*` is anything within one segment, `**` anything; a pattern without a star also fits everything below it. */
export function compilePattern(pattern: string): (id: string) => boolean {
	const source = pattern
		.split(/(\*\*|\*)/)
		.map((part) => (part === '**' ? '.*' : part === '*' ? '[^/]*' : part.replace(/[.+?^${}()|[\]\\]/g, '\\$&')))
		.join('');
	const whole = new RegExp(`^${source}${pattern.includes('*') ? '' : '(/.*)?'}$`);
	return (id) => whole.test(id);
}

/** One line of a known-failing list. */
export interface KnownFailing {
	readonly pattern: string;
	readonly line: number;
	/** An issue's address on the same line. */
	readonly url: string | undefined;
	fits(id: string): boolean;
}

/** One pattern a line; `#` begins a comment; an address behind the pattern is kept for the report. */
export function parseKnownFailing(text: string): readonly KnownFailing[] {
	const out: KnownFailing[] = [];
	for (const [index, raw] of text.split(/\r?\n/).entries()) {
		const [pattern = ''] = raw.trim().split(/\s/);
		if (pattern === '' || pattern.startsWith('#')) continue;
		const fits = compilePattern(pattern);
		out.push({ pattern, line: index + 1, url: /https?:\/\/\S+/.exec(raw)?.[0], fits });
	}
	return out;
}
