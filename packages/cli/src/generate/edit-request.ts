import { FormatError, quote } from '@lorakit/format';
import { LOCAL_BLEND_START, LOCAL_BLEND_THRESHOLD } from '@lorakit/runtime';
import { parseNumber } from './numbers.js';

/** Kinds of `--edit-kind`. */
export const EDIT_KINDS = ['replace', 'refine', 'reweight'] as const;
export type EditKind = (typeof EDIT_KINDS)[number];

/** Part of the run: from, to, both 0 to 1. */
export type ShareRange = readonly [number, number];

/** Prompts that a picture is drawn for anew, keeping its layout: Prompt-to-Prompt. */
export interface EditRequest {
	readonly edits: readonly { readonly kind: EditKind; readonly prompt: string }[];
	/** While the cross-attention of the source is used, and otherwise for words. */
	readonly cross: ShareRange;
	readonly crossWords: readonly { readonly word: string; readonly range: ShareRange }[];
	/** While its self-attention is used. */
	readonly self: ShareRange;
	/** Factors on the attention to words of the edited prompts. */
	readonly words: readonly { readonly word: string; readonly factor: number }[];
	/** Only where these words of the prompts are. */
	readonly local: { readonly words: readonly string[]; readonly threshold: number; readonly start: number } | null;
}

/** The flags of edits, as commander hands them over. */
export interface EditFlags {
	readonly edit?: readonly string[] | undefined;
	readonly editKind?: EditKind | undefined;
	readonly editCross?: readonly string[] | undefined;
	readonly editSelf?: string | undefined;
	readonly editWord?: readonly string[] | undefined;
	readonly editLocal?: readonly string[] | undefined;
	readonly editThreshold?: string | undefined;
	readonly editStart?: string | undefined;
	readonly attentionMaps?: readonly string[] | undefined;
}

/** All are drawn in one batch with the source. */
export const MAX_EDITS = 15;
const MAX_WORDS = 75;
const DEFAULT_CROSS = 0.8;
const DEFAULT_SELF = 0.4;

/**
 * The edits that flags ask for; undefined for none. Without `--edit-kind` a prompt of as many words replaces, another
 * refines; words with factors alone reweight the prompt itself.
 * @throws {FormatError} `E_USAGE`, one sentence each.
 */
export function editRequest(flags: EditFlags, prompt: string): EditRequest | undefined {
	const words = limited(flags.editWord ?? [], '--edit-word').map(wordFactor);
	const prompts = flags.edit ?? (words.length > 0 && (flags.editKind ?? 'reweight') === 'reweight' ? [prompt] : []);
	if (prompts.length === 0) {
		const idle = Object.entries(flags).find(([name, value]) => /^edit[A-Z]/.test(name) && value !== undefined)?.[0];
		if (idle === undefined) return undefined;
		const flag = idle.replaceAll(/[A-Z]/g, (c) => `-${c.toLowerCase()}`);
		throw new FormatError('E_USAGE', `--${flag} says how to edit; name what to draw instead with --edit PROMPT.`);
	}
	if (prompts.length > MAX_EDITS) {
		throw new FormatError('E_USAGE', `--edit comes ${prompts.length} times; at most ${MAX_EDITS} edits are drawn with one source.`);
	}
	if (flags.editKind === 'reweight' && words.length === 0) {
		throw new FormatError('E_USAGE', '--edit-kind reweight needs to know which words and how much: --edit-word WORD=FACTOR.');
	}
	const [cross, crossWords] = crossRanges(flags.editCross ?? []);
	const localWords = limited(flags.editLocal ?? [], '--edit-local');
	if (localWords.length === 0 && (flags.editThreshold ?? flags.editStart) !== undefined) {
		throw new FormatError('E_USAGE', '--edit-threshold and --edit-start are of --edit-local WORD; name the words that may change.');
	}
	return {
		edits: prompts.map((text) => ({ kind: flags.editKind ?? kindOf(prompt, text, words.length > 0), prompt: text })),
		cross,
		crossWords,
		self: flags.editSelf === undefined ? [0, DEFAULT_SELF] : shareRange(flags.editSelf, '--edit-self'),
		words,
		local:
			localWords.length === 0
				? null
				: {
						words: localWords,
						threshold: numberOr(flags.editThreshold, '--edit-threshold', LOCAL_BLEND_THRESHOLD, 0.999),
						start: numberOr(flags.editStart, '--edit-start', LOCAL_BLEND_START, 1),
					},
	};
}

/** Words of `--attention-maps`, `all` for every token. @throws {FormatError} `E_USAGE`. */
export function attentionRequest({ attentionMaps = [] }: EditFlags): readonly string[] {
	return limited(attentionMaps, '--attention-maps');
}

function kindOf(source: string, edited: string, weighted: boolean): EditKind {
	const words = (text: string): number => text.split(/\s+/u).filter((word) => word !== '').length;
	if (source === edited && weighted) return 'reweight';
	return words(source) === words(edited) ? 'replace' : 'refine';
}

function wordFactor(text: string): { readonly word: string; readonly factor: number } {
	const cut = text.lastIndexOf('=');
	if (cut < 1) throw new FormatError('E_USAGE', `${quote(text)} of --edit-word is no WORD=FACTOR, such as red=2.`);
	return { word: text.slice(0, cut), factor: parseNumber(text.slice(cut + 1), `The factor of ${quote(text)}`, -1000, 1000) };
}

/** `0.8`, `0.2..0.8`, and `WORD=0.4` for one word. */
function crossRanges(given: readonly string[]): readonly [ShareRange, EditRequest['crossWords']] {
	let everywhere: ShareRange = [0, DEFAULT_CROSS];
	const words: { readonly word: string; readonly range: ShareRange }[] = [];
	for (const text of limited(given, '--edit-cross')) {
		const cut = text.lastIndexOf('=');
		if (cut < 0) everywhere = shareRange(text, '--edit-cross');
		else words.push({ word: text.slice(0, cut), range: shareRange(text.slice(cut + 1), `--edit-cross ${text.slice(0, cut)}`) });
	}
	return [everywhere, words];
}

/** `0.8` is 0 to 0.8, `0.2..0.8` from and to. @throws {FormatError} `E_USAGE` */
export function shareRange(text: string, what: string): ShareRange {
	const parts = text.split('..');
	const [first = '', second] = parts;
	if (parts.length > 2) throw new FormatError('E_USAGE', `${what} is ${quote(text)}; it is a share of the run such as 0.8, or 0.2..0.8.`);
	if (second === undefined) return [0, parseNumber(first, what, 0, 1)];
	const [from, to] = [parseNumber(first, what, 0, 1), parseNumber(second, what, 0, 1)];
	if (from > to) throw new FormatError('E_USAGE', `${what} is ${quote(text)}, which runs backwards; write the smaller share first.`);
	return [from, to];
}

function numberOr(text: string | undefined, what: string, otherwise: number, most: number): number {
	return text === undefined ? otherwise : parseNumber(text, what, 0, most);
}

function limited(given: readonly string[], flag: string): readonly string[] {
	if (given.length > MAX_WORDS)
		throw new FormatError('E_USAGE', `${flag} comes ${given.length} times; a prompt has at most ${MAX_WORDS} tokens.`);
	const empty = given.find((text) => text.trim() === '');
	if (empty !== undefined) throw new FormatError('E_USAGE', `${flag} has an empty value; name a word of the prompt.`);
	return given;
}
