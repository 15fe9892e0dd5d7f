import { FormatError, quote } from '../errors.js';

/**
 * Patterns of `rank_pattern`, `alpha_pattern` and `target_modules`: PEFT matches a key K against a module name
 * with `re.match(r"(.*\.)?(K)$", name)` (huggingface/peft@5d602fd src/peft/utils/other.py get_pattern_key).
 *
 * The text comes from a file, so it never reaches JavaScript's backtracking engine: a small automaton runs all
 * alternatives side by side, in time (length of name) x (size of pattern), inside one budget for all patterns.
 */
export interface NamePattern {
	/** A plain name: the length of what it matches. Undefined for a regular expression. */
	readonly length: number | undefined;
	/** Whether PEFT's rule matches this module name. @throws {FormatError} `E_LIMIT` when the budget is used up. */
	matches(name: string): boolean;
}

/** Longest pattern we compile; module names have at most some hundred characters. */
export const MAX_PATTERN_CHARS: number = 4096;
/** Largest compiled pattern, in instructions. */
export const MAX_PATTERN_SIZE: number = 20_000;
/** Deepest nesting of groups. */
export const MAX_PATTERN_DEPTH: number = 64;
/** Automaton steps spent on all patterns of one file: a second or two at most. */
export const MAX_PATTERN_STEPS: number = 20_000_000;
/** Steps that one compiled instruction costs: it takes memory as long as the file is read. */
const STEPS_PER_INSTRUCTION = 16;
/** Steps of keeping one plain name. */
const STEPS_PER_NAME = 100;
/** Steps of comparing one plain name, which is native code. */
const STEPS_PER_GLANCE = 1 / 4;

/** Shared between the patterns of one file. */
export interface PatternBudget {
	steps: number;
}

export function patternBudget(): PatternBudget {
	return { steps: MAX_PATTERN_STEPS };
}

/** Take steps from the budget. @throws {FormatError} `E_LIMIT` when nothing is left. */
export function spend(budget: PatternBudget, steps: number): void {
	budget.steps -= steps;
	if (budget.steps < 0) {
		throw new FormatError('E_LIMIT', 'The module patterns of this file take too many steps to match; write the module names out.');
	}
}

type Test = (code: number) => boolean;

type Node =
	| { readonly kind: 'char'; readonly test: Test; readonly cost: number }
	| { readonly kind: 'start' | 'end' }
	| { readonly kind: 'seq' | 'alt'; readonly parts: readonly Node[] }
	| { readonly kind: 'repeat'; readonly part: Node; readonly min: number; readonly max: number };

type Instruction =
	| { readonly op: 'char'; readonly test: Test; readonly cost: number }
	| { readonly op: 'start' | 'end' | 'match' }
	| { readonly op: 'jump'; to: number }
	| { readonly op: 'split'; a: number; b: number };

/**
 * Compile one pattern.
 *
 * @throws {FormatError} `E_CONFIG` for syntax that is broken or that this engine does not have (look-around,
 *   back references, flags), `E_LIMIT` for patterns beyond the limits.
 */
export function namePattern(pattern: string, budget: PatternBudget): NamePattern {
	if (pattern.length > MAX_PATTERN_CHARS) {
		throw new FormatError('E_LIMIT', `The pattern ${quote(pattern)} has ${pattern.length} characters; the limit is ${MAX_PATTERN_CHARS}.`);
	}
	const literal = literalPattern(pattern, budget);
	if (literal !== undefined) return literal;
	const parser = new Parser(pattern);
	const program: Instruction[] = [];
	emit(parser.parse(), program, pattern, budget);
	program.push({ op: 'match' });
	return { length: undefined, matches: (name) => run(program, name, budget) };
}

/** Names with dots (any character, as in a regular expression), `\.` and a leading `^`: nearly all patterns there are. */
function literalPattern(pattern: string, budget: PatternBudget): NamePattern | undefined {
	spend(budget, STEPS_PER_NAME);
	const anchored = pattern.startsWith('^');
	const body = anchored ? pattern.slice(1) : pattern;
	if (!/^(?:[\w-]|\.|\\\.)*$/.test(body)) return undefined;
	const text = body.replaceAll('\\.', '\u0000').replaceAll('.', '\u0001').replaceAll('\u0000', '.');
	const wild: number[] = [];
	for (let i = 0; i < text.length; i++) if (text.charCodeAt(i) === 1) wild.push(i);
	const fixed = text.replaceAll('\u0001', '.');
	return {
		length: fixed.length,
		matches(name) {
			const at = name.length - fixed.length;
			spend(budget, STEPS_PER_GLANCE);
			if (at < 0 || (at > 0 && (anchored || name.charCodeAt(at - 1) !== 46))) return false;
			if (name.endsWith(fixed)) return true;
			if (wild.length === 0) return false;
			spend(budget, 1 + wild.length);
			let from = 0;
			for (const w of wild) {
				if (!name.startsWith(fixed.slice(from, w), at + from)) return false;
				from = w + 1;
			}
			return name.startsWith(fixed.slice(from), at + from);
		},
	};
}

class Parser {
	readonly #text: string;
	#at = 0;
	#depth = 0;

	constructor(text: string) {
		this.#text = text;
	}

	parse(): Node {
		const node = this.#alternatives();
		if (this.#at < this.#text.length) throw this.#broken('an unbalanced )');
		return node;
	}

	#alternatives(): Node {
		if (++this.#depth > MAX_PATTERN_DEPTH) {
			throw new FormatError('E_LIMIT', `The pattern ${quote(this.#text)} nests deeper than ${MAX_PATTERN_DEPTH} groups.`);
		}
		const parts: Node[] = [this.#sequence()];
		while (this.#text[this.#at] === '|') {
			this.#at++;
			parts.push(this.#sequence());
		}
		this.#depth--;
		const [only] = parts;
		return parts.length === 1 && only !== undefined ? only : { kind: 'alt', parts };
	}

	#sequence(): Node {
		const parts: Node[] = [];
		for (let c = this.#text[this.#at]; c !== undefined && c !== '|' && c !== ')'; c = this.#text[this.#at]) parts.push(this.#repeated());
		return { kind: 'seq', parts };
	}

	#repeated(): Node {
		let node = this.#atom();
		for (;;) {
			const c = this.#text[this.#at];
			const bounds = c === '*' ? [0, Number.POSITIVE_INFINITY] : c === '+' ? [1, Number.POSITIVE_INFINITY] : c === '?' ? [0, 1] : undefined;
			if (bounds !== undefined) this.#at++;
			const [min, max] = bounds ?? this.#braces() ?? [undefined, undefined];
			if (min === undefined || max === undefined) return node;
			if (node.kind === 'start' || node.kind === 'end') throw this.#broken('a repeated anchor');
			// A lazy or possessive mark changes which match is found, not whether there is one... except possessive.
			if (this.#text[this.#at] === '?') this.#at++;
			else if (this.#text[this.#at] === '+') throw this.#broken('a possessive repeat');
			node = { kind: 'repeat', part: node, min, max };
		}
	}

	/** `{m}`, `{m,}`, `{,n}`, `{m,n}`; anything else is a literal brace, as in Python. */
	#braces(): [number, number] | undefined {
		const found = /^\{(\d{0,4})(,?)(\d{0,4})\}/.exec(this.#text.slice(this.#at, this.#at + 16));
		if (found === null || (found[1] === '' && found[3] === '')) return undefined;
		this.#at += found[0].length;
		const min = Number(found[1] ?? '');
		const max = found[2] === '' ? min : found[3] === '' ? Number.POSITIVE_INFINITY : Number(found[3]);
		if (max < min) throw this.#broken('a repeat whose end is before its beginning');
		return [min, max];
	}

	#atom(): Node {
		const c = this.#text[this.#at++] ?? '';
		switch (c) {
			case '.':
				return { kind: 'char', test: (code) => code !== 10, cost: 1 };
			case '^':
				return { kind: 'start' };
			case '$':
				return { kind: 'end' };
			case '(': {
				if (this.#text.startsWith('?:', this.#at)) this.#at += 2;
				else if (this.#text[this.#at] === '?') throw this.#broken('a (?…) group');
				const inner = this.#alternatives();
				if (this.#text[this.#at++] !== ')') throw this.#broken('a ( that is not closed');
				return inner;
			}
			case '[':
				return this.#set();
			case '\\':
				return { kind: 'char', test: this.#escape(), cost: 1 };
			case '*':
			case '+':
			case '?':
				throw this.#broken('nothing to repeat');
			default:
				return literal(c);
		}
	}

	#escape(): Test {
		const c = this.#text[this.#at++];
		if (c === undefined) throw this.#broken('a \\ at the end');
		const known = CLASSES.get(c);
		if (known !== undefined) return known;
		if (/[A-Za-z0-9]/.test(c)) throw this.#broken(`\\${c}`);
		const code = c.charCodeAt(0);
		return (other) => other === code;
	}

	#set(): Node {
		const negated = this.#text[this.#at] === '^';
		if (negated) this.#at++;
		const tests: Test[] = [];
		for (let first = true; ; first = false) {
			const c = this.#text[this.#at++];
			if (c === undefined) throw this.#broken('a [ that is not closed');
			if (c === ']' && !first) break;
			if (c === '\\') {
				tests.push(this.#escape());
				continue;
			}
			const low = c.charCodeAt(0);
			const end = this.#text[this.#at + 1];
			if (this.#text[this.#at] === '-' && end !== undefined && end !== ']') {
				if (end === '\\') throw this.#broken('an escaped end of a range');
				const high = end.charCodeAt(0);
				if (high < low) throw this.#broken('a range that runs backwards');
				this.#at += 2;
				tests.push((code) => code >= low && code <= high);
			} else tests.push((code) => code === low);
		}
		return { kind: 'char', test: (code) => tests.some((test) => test(code)) !== negated, cost: tests.length };
	}

	#broken(what: string): FormatError {
		return new FormatError(
			'E_CONFIG',
			`The module pattern ${quote(this.#text)} has ${what}, which is not read here; write the module names out.`,
		);
	}
}

const isDigit: Test = (c) => c >= 48 && c <= 57;
const isWord: Test = (c) => isDigit(c) || (c >= 65 && c <= 90) || (c >= 97 && c <= 122) || c === 95;
const isSpace: Test = (c) => c === 32 || (c >= 9 && c <= 13);
const CLASSES: ReadonlyMap<string, Test> = new Map<string, Test>([
	['d', isDigit],
	['D', (c) => !isDigit(c)],
	['w', isWord],
	['W', (c) => !isWord(c)],
	['s', isSpace],
	['S', (c) => !isSpace(c)],
]);

function literal(c: string): Node {
	const code = c.charCodeAt(0);
	return { kind: 'char', test: (other) => other === code, cost: 1 };
}

/** Depth is bounded by MAX_PATTERN_DEPTH, size by MAX_PATTERN_SIZE. */
function emit(node: Node, out: Instruction[], pattern: string, budget: PatternBudget): void {
	// Charged per visit: a repeat of nothing grows no program, yet a thousand of a thousand of them take for ever.
	spend(budget, STEPS_PER_INSTRUCTION);
	if (out.length > MAX_PATTERN_SIZE) {
		throw new FormatError(
			'E_LIMIT',
			`The pattern ${quote(pattern)} is larger than ${MAX_PATTERN_SIZE} steps once its repeats are written out.`,
		);
	}
	switch (node.kind) {
		case 'char':
			out.push({ op: 'char', test: node.test, cost: node.cost });
			return;
		case 'start':
		case 'end':
			out.push({ op: node.kind });
			return;
		case 'seq':
			for (const part of node.parts) emit(part, out, pattern, budget);
			return;
		case 'alt': {
			const jumps: { op: 'jump'; to: number }[] = [];
			node.parts.forEach((part, i) => {
				if (i === node.parts.length - 1) {
					emit(part, out, pattern, budget);
					return;
				}
				const split: Instruction = { op: 'split', a: out.length + 1, b: 0 };
				out.push(split);
				emit(part, out, pattern, budget);
				const jump: { op: 'jump'; to: number } = { op: 'jump', to: 0 };
				jumps.push(jump);
				out.push(jump);
				split.b = out.length;
			});
			for (const jump of jumps) jump.to = out.length;
			return;
		}
		case 'repeat': {
			for (let i = 0; i < node.min; i++) emit(node.part, out, pattern, budget);
			if (node.max === Number.POSITIVE_INFINITY) {
				const split: Instruction = { op: 'split', a: out.length + 1, b: 0 };
				const at = out.length;
				out.push(split);
				emit(node.part, out, pattern, budget);
				out.push({ op: 'jump', to: at });
				split.b = out.length;
				return;
			}
			const splits: { op: 'split'; a: number; b: number }[] = [];
			for (let i = node.min; i < node.max; i++) {
				const split: { op: 'split'; a: number; b: number } = { op: 'split', a: out.length + 1, b: 0 };
				splits.push(split);
				out.push(split);
				emit(node.part, out, pattern, budget);
			}
			for (const split of splits) split.b = out.length;
		}
	}
}

/** All threads at once; a thread is an instruction index, entered at most once per character. */
function run(program: readonly Instruction[], name: string, budget: PatternBudget): boolean {
	spend(budget, program.length / 8);
	const entered = new Int32Array(program.length).fill(-1);
	let threads: number[] = [];
	const enter = (start: number, at: number, into: number[]): boolean => {
		const stack = [start];
		for (let pc = stack.pop(); pc !== undefined; pc = stack.pop()) {
			if (entered[pc] === at) continue;
			entered[pc] = at;
			spend(budget, 1);
			const ins = program[pc];
			if (ins === undefined) continue;
			if (ins.op === 'match') {
				if (at === name.length) return true;
			} else if (ins.op === 'jump') stack.push(ins.to);
			else if (ins.op === 'split') stack.push(ins.b, ins.a);
			else if (ins.op === 'start') {
				if (at === 0) stack.push(pc + 1);
			} else if (ins.op === 'end') {
				if (at === name.length) stack.push(pc + 1);
			} else into.push(pc);
		}
		return false;
	};
	for (let at = 0; at <= name.length; at++) {
		const next: number[] = [];
		const code = at === 0 ? 0 : name.charCodeAt(at - 1);
		for (const pc of threads) {
			const ins = program[pc];
			if (ins?.op !== 'char') continue;
			spend(budget, ins.cost);
			if (ins.test(code) && enter(pc + 1, at, next)) return true;
		}
		if ((at === 0 || code === 46) && enter(0, at, next)) return true;
		threads = next;
	}
	return false;
}
