import { FormatError } from '@lorakit/format';
import { MAX_OPEN_BRACKETS, MAX_PROMPT_CHARACTERS } from './limits.js';

/** A text and the last of the steps that it is for; steps are counted from 1. */
export interface ScheduledText {
	readonly end: number;
	readonly text: string;
}

/** Text, `[before:after:when]`, or `[a|b]`; brackets that weigh are text. */
type Part =
	| { readonly kind: 'text'; readonly text: string }
	| { readonly kind: 'change'; readonly before: Parts; readonly after: Parts; readonly when: string }
	| { readonly kind: 'turns'; readonly options: readonly Parts[] };
type Parts = readonly Part[];

const PLAIN = /(?:[^\\[\]():|]|\\[^\n])+/uy;
/** lark's SIGNED_NUMBER, and the end of the group. */
const WHEN = /\s*([+-]?(?:\d+[eE][+-]?\d+|(?:\d+\.\d*|\.\d+)(?:[eE][+-]?\d+)?|\d+))\s*\]/uy;

/**
 * What a prompt of AUTOMATIC1111's language says at each step: `[from:to:when]` is `from` up to step `when` and `to` after
 * it, `[to:when]` nothing before, `[from::when]` nothing after; `when` is a step, or with a point in it a share of all.
 * `[a|b|c]` takes turns. Groups nest. A prompt that its grammar cannot read (a `|` outside of brackets) is text throughout.
 *
 * The grammar and its counting are those of stable-diffusion-webui 1.6 and newer (modules/prompt_parser.py
 * `schedule_parser`, `get_learned_conditioning_prompt_schedules`), whose results are the reference. Where brackets do not
 * close, its parser chooses among several readings; here every group that can be read is one.
 *
 * @returns ends ascending, the last being `steps`
 * @throws {FormatError} `E_LIMIT` for a prompt over MAX_PROMPT_CHARACTERS or more than 256 brackets inside each other.
 */
export function promptSchedule(prompt: string, steps: number): readonly ScheduledText[] {
	if (prompt.length > MAX_PROMPT_CHARACTERS) {
		throw new FormatError('E_LIMIT', `The prompt has ${prompt.length} characters; the limit is ${MAX_PROMPT_CHARACTERS}.`);
	}
	const parts = parse(prompt);
	if (parts === undefined) return [{ end: steps, text: prompt }];
	const ends = new Set([steps]);
	collectEnds(parts, steps, ends);
	// Turns give as many entries as steps, of few texts.
	const same = new Map<string, string>();
	return [...ends]
		.sort((a, b) => a - b)
		.map((end) => {
			const made = textAt(parts, end, steps);
			const text = same.get(made) ?? made;
			same.set(text, text);
			return { end, text };
		});
}

/**
 * The text for a call of the model, counted from 0. (As there: a text whose end is 5 is for the calls 0 to 5; after the
 * last end the first text comes again.)
 */
export function textOfCall(schedule: readonly ScheduledText[], call: number): string {
	return (schedule.find(({ end }) => call <= end) ?? schedule[0])?.text ?? '';
}

interface Group {
	readonly parts: Parts;
	/** Behind its closing bracket. */
	readonly next: number;
}

function parse(prompt: string): Parts | undefined {
	/** By where they open; null: no group begins there, so that the bracket is text. */
	const known = new Map<number, Group | null>();

	function plainAt(at: number): string | undefined {
		PLAIN.lastIndex = at;
		return PLAIN.exec(prompt)?.[0];
	}

	/** Up to a bracket that closes, a colon, a bar or the end; null where a group inside is none. */
	function contentAt(from: number, depth: number): Group | null {
		const parts: Part[] = [];
		for (let at = from; ; ) {
			const c = prompt[at];
			if (c === '(' || c === '[') {
				const group = groupAt(at, depth + 1);
				if (group === null) return null;
				parts.push(...group.parts);
				at = group.next;
				continue;
			}
			const text = plainAt(at);
			if (text === undefined) return { parts, next: at };
			parts.push({ kind: 'text', text });
			at += text.length;
		}
	}

	function groupAt(at: number, depth: number): Group | null {
		const found = known.get(at);
		if (found !== undefined) return found;
		if (depth > MAX_OPEN_BRACKETS) throw new FormatError('E_LIMIT', `The prompt opens more than ${MAX_OPEN_BRACKETS} brackets at once.`);
		const made = prompt[at] === '(' ? roundAt(at, depth) : squareAt(at, depth);
		known.set(at, made);
		return made;
	}

	function roundAt(at: number, depth: number): Group | null {
		const first = contentAt(at + 1, depth);
		if (first === null) return null;
		if (prompt[first.next] === ')') return { parts: [text('('), ...first.parts, text(')')], next: first.next + 1 };
		if (prompt[first.next] !== ':') return null;
		const second = contentAt(first.next + 1, depth);
		if (second === null || prompt[second.next] !== ')') return null;
		return { parts: [text('('), ...first.parts, text(':'), ...second.parts, text(')')], next: second.next + 1 };
	}

	function squareAt(at: number, depth: number): Group | null {
		const first = contentAt(at + 1, depth);
		if (first === null) return null;
		switch (prompt[first.next]) {
			case ']':
				return { parts: [text('['), ...first.parts, text(']')], next: first.next + 1 };
			case '|':
				return turnsAt(first, depth);
			case ':': {
				const alone = whenAt(first.next + 1);
				if (alone !== undefined) return { parts: [{ kind: 'change', before: [], after: first.parts, when: alone.when }], next: alone.next };
				const second = contentAt(first.next + 1, depth);
				if (second === null || prompt[second.next] !== ':') return null;
				const end = whenAt(second.next + 1);
				if (end === undefined) return null;
				return { parts: [{ kind: 'change', before: first.parts, after: second.parts, when: end.when }], next: end.next };
			}
			default:
				return null;
		}
	}

	function turnsAt(first: Group, depth: number): Group | null {
		const options: Parts[] = [first.parts];
		let at = first.next;
		while (prompt[at] === '|') {
			const option = contentAt(at + 1, depth);
			if (option === null) return null;
			options.push(option.parts);
			at = option.next;
		}
		return prompt[at] === ']' ? { parts: [{ kind: 'turns', options }], next: at + 1 } : null;
	}

	function whenAt(at: number): { readonly when: string; readonly next: number } | undefined {
		WHEN.lastIndex = at;
		const match = WHEN.exec(prompt);
		return match === null ? undefined : { when: match[1] ?? '', next: at + match[0].length };
	}

	const parts: Part[] = [];
	for (let at = 0; at < prompt.length; ) {
		const c = prompt[at] ?? '';
		const group = c === '(' || c === '[' ? groupAt(at, 1) : null;
		if (group !== null) {
			parts.push(...group.parts);
			at = group.next;
			continue;
		}
		const own = '[]():'.includes(c) ? c : plainAt(at);
		// A bar, or a backslash before nothing: the grammar has no place for them.
		if (own === undefined) return undefined;
		parts.push(text(own));
		at += own.length;
	}
	return parts;
}

function text(own: string): Part {
	return { kind: 'text', text: own };
}

function collectEnds(parts: Parts, steps: number, ends: Set<number>): void {
	for (const part of parts) {
		if (part.kind === 'change') {
			const when = stepOf(part.when, steps);
			if (when >= 1) ends.add(when);
			collectEnds(part.before, steps, ends);
			collectEnds(part.after, steps, ends);
		} else if (part.kind === 'turns') {
			for (let step = 1; step <= steps; step++) ends.add(step);
			for (const option of part.options) collectEnds(option, steps, ends);
		}
	}
}

function stepOf(when: string, steps: number): number {
	return Math.min(steps, Math.trunc(when.includes('.') ? Number(when) * steps : Number(when)));
}

function textAt(parts: Parts, step: number, steps: number): string {
	return parts
		.map((part): string => {
			if (part.kind === 'text') return part.text;
			if (part.kind === 'change') return textAt(step <= stepOf(part.when, steps) ? part.before : part.after, step, steps);
			return textAt(part.options[(step - 1) % part.options.length] ?? [], step, steps);
		})
		.join('');
}
