import { FormatError, quote } from '@lorakit/format';
import { MAX_OPEN_BRACKETS, MAX_PROMPT_CHARACTERS } from './limits.js';

/** A part of a prompt: text of one weight, or the word BREAK, which ends a chunk of tokens. */
export type PromptSegment = { readonly kind: 'text'; readonly text: string; readonly weight: number } | { readonly kind: 'break' };

/** `<lora:name:0.8>`: an adapter that the prompt asks for. */
export interface PromptLora {
	/** As written; what file it means is the caller's to say. */
	readonly name: string;
	/** Strength on the text encoder and on the unet. */
	readonly textEncoder: number;
	readonly unet: number;
}

/** A prompt in AUTOMATIC1111's language, taken apart. */
export interface WeightedPrompt {
	readonly segments: readonly PromptSegment[];
	readonly loras: readonly PromptLora[];
	/**
	 * What that language can say and this function does not, as written: prompt editing and AND, which `composedPrompts` and
	 * `promptSchedule` read before it, other `<networks>` and their options. For a warning.
	 */
	readonly unsupported: readonly string[];
}

const ROUND = 1.1;
const SQUARE = 1 / 1.1;

const NETWORK = /<([\p{L}\p{N}_]+):([^>]+)>/gu;
/** Escapes, brackets, `:1.2)`, plain text, and a colon by itself, in this order. */
const PIECES = /\\[()[\]\\]?|\(|\[|:\s*([+-]?[.\d]+)\s*\)|\)|\]|[^\\()[\]:]+|:/gu;
const BREAK = /(?<![\p{L}\p{N}_])BREAK(?![\p{L}\p{N}_])/u;
const UNSUPPORTED = [
	/(?<!\\)\[[^[\]]*:\s*[-+]?(?:\d+\.?\d*|\.\d+)\s*\]/gu,
	/(?<!\\)\[[^[\]|]*\|[^[\]]*\]/gu,
	/(?<![\p{L}\p{N}_])AND(?![\p{L}\p{N}_])/gu,
];
const NUMBER = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i;

/**
 * Read a prompt in AUTOMATIC1111's language (AUTOMATIC1111/stable-diffusion-webui modules/prompt_parser.py
 * parse_prompt_attention, modules/extra_networks.py, extensions-builtin/Lora/extra_networks_lora.py): `(a)` weighs 1.1,
 * `[a]` 1/1.1, `(a:1.3)` 1.3, nested ones multiply, an open one holds to the end; a backslash makes a bracket or a
 * backslash plain; BREAK; `<lora:name:te:unet>` or `te=`, `unet=`.
 *
 * One departure: BREAK inside brackets is a break here too, where the original weighs the word "BREAK" with a negative number.
 *
 * @throws {FormatError} `E_USAGE` for a weight or strength that is no number, `E_LIMIT` for a prompt over
 *   MAX_PROMPT_CHARACTERS or more than 256 brackets open at once.
 */
export function parseWeightedPrompt(prompt: string): WeightedPrompt {
	const { text, loras, unsupported } = takeNetworks(prompt);
	const more = UNSUPPORTED.flatMap((pattern) => Array.from(text.matchAll(pattern), ([found]) => found));
	return { segments: joinEqual(weigh(text)), loras, unsupported: [...unsupported, ...more] };
}

/**
 * The `<lora:name:0.8>` of a prompt, and the prompt without them and without other `<networks>`.
 * @throws {FormatError} `E_USAGE` for a strength that is no number, `E_LIMIT` for a prompt over MAX_PROMPT_CHARACTERS.
 */
export function takeNetworks(prompt: string): Pick<WeightedPrompt, 'loras' | 'unsupported'> & { readonly text: string } {
	if (prompt.length > MAX_PROMPT_CHARACTERS) {
		throw new FormatError('E_LIMIT', `The prompt has ${prompt.length} characters; the limit is ${MAX_PROMPT_CHARACTERS}.`);
	}
	const loras: PromptLora[] = [];
	const unsupported: string[] = [];
	// Beyond the last ">" nothing can match, and the search for one would start over at each "<".
	const end = prompt.lastIndexOf('>') + 1;
	const plain = prompt.slice(0, end).replace(NETWORK, (written: string, kind: string, options: string) => {
		if (kind === 'lora' || kind === 'lyco') loras.push(readLora(written, options, unsupported));
		else unsupported.push(written);
		return '';
	});
	return { text: plain + prompt.slice(end), loras, unsupported };
}

function readLora(written: string, options: string, unsupported: string[]): PromptLora {
	const plain: string[] = [];
	const named = new Map<string, string>();
	for (const option of options.split(':')) {
		const parts = option.split('=');
		if (parts.length === 2) named.set(parts[0] ?? '', parts[1] ?? '');
		else plain.push(option);
	}
	const [name, first, second, ...rest] = plain;
	if (name === undefined || name.trim() === '') throw new FormatError('E_USAGE', `${quote(written)} in the prompt names no adapter.`);
	if (rest.length > 0 || [...named.keys()].some((key) => key !== 'te' && key !== 'unet')) unsupported.push(written);
	const textEncoder = readNumber(named.get('te') ?? first ?? '1', written);
	return { name, textEncoder, unet: readNumber(named.get('unet') ?? second ?? String(textEncoder), written) };
}

function readNumber(text: string, where: string): number {
	const value = NUMBER.test(text.trim()) ? Number(text) : Number.NaN;
	if (!Number.isFinite(value)) {
		throw new FormatError('E_USAGE', `${quote(where)} in the prompt has the weight ${quote(text)}, which is no number; write it like 1.2.`);
	}
	return value;
}

type Weighed = { readonly text: string | undefined; weight: number };

/** Pieces and their weights, multiplied in the original's order, so that they are its numbers to the last bit. */
function weigh(text: string): Weighed[] {
	const pieces: Weighed[] = [];
	const round: number[] = [];
	const square: number[] = [];
	const multiply = (from: number, by: number): void => {
		for (const piece of pieces.slice(from)) piece.weight *= by;
	};
	const open = (brackets: number[]): void => {
		if (brackets.length >= MAX_OPEN_BRACKETS)
			throw new FormatError('E_LIMIT', `The prompt opens more than ${MAX_OPEN_BRACKETS} brackets at once.`);
		brackets.push(pieces.length);
	};
	for (const [piece, weight] of text.matchAll(PIECES)) {
		if (piece.startsWith('\\')) pieces.push({ text: piece.slice(1), weight: 1 });
		else if (piece === '(') open(round);
		else if (piece === '[') open(square);
		else if (weight !== undefined && round.length > 0) multiply(round.pop() ?? 0, readNumber(weight, piece));
		else if (piece === ')' && round.length > 0) multiply(round.pop() ?? 0, ROUND);
		else if (piece === ']' && square.length > 0) multiply(square.pop() ?? 0, SQUARE);
		else pieces.push(...splitBreaks(piece));
	}
	for (const from of round) multiply(from, ROUND);
	for (const from of square) multiply(from, SQUARE);
	return pieces;
}

/** Plain text, cut at each BREAK; white space around BREAK goes with it. */
function splitBreaks(text: string): Weighed[] {
	const parts = text.split(BREAK);
	return parts.flatMap((part, i) => {
		const left = i === 0 ? part : part.trimStart();
		const piece = { text: i === parts.length - 1 ? left : left.trimEnd(), weight: 1 };
		return i === 0 ? [piece] : [{ text: undefined, weight: 1 }, piece];
	});
}

function joinEqual(pieces: readonly Weighed[]): PromptSegment[] {
	const segments: PromptSegment[] = [];
	let texts: string[] = [];
	let weight = 1;
	const flush = (): void => {
		if (texts.length > 0) segments.push({ kind: 'text', text: texts.join(''), weight });
		texts = [];
	};
	for (const piece of pieces) {
		if (piece.text === undefined) {
			flush();
			segments.push({ kind: 'break' });
			continue;
		}
		if (piece.weight !== weight) flush();
		weight = piece.weight;
		texts.push(piece.text);
	}
	flush();
	return segments.length === 0 ? [{ kind: 'text', text: '', weight: 1 }] : segments;
}
