import { FormatError, quote } from '@lorakit/format';
import { BYTE_LETTERS } from './byte-letters.js';
import { MAX_TOKENIZER_FILE_CHARACTERS, MAX_TOKENS } from './limits.js';

/** What CLIP writes after the last letter of a word. */
export const WORD_END = '</w>';

/** vocab.json and merges.txt, ready to merge by numbers. */
export interface Vocabulary {
	/** Text of each id. */
	readonly tokens: readonly string[];
	readonly ids: ReadonlyMap<string, number>;
	/** Ids of the single bytes inside a word and at its end; undefined where the vocabulary lacks one. */
	readonly bytes: readonly (number | undefined)[];
	readonly lastBytes: readonly (number | undefined)[];
	/** Rank of a pair of ids (`pairKey`); the lowest is merged first. */
	readonly ranks: ReadonlyMap<number, number>;
	/** The id that the merge of that rank gives. */
	readonly merged: readonly number[];
}

/** One number for two ids; exact, as ids are below 2^20. */
export function pairKey(first: number, second: number): number {
	return first * MAX_TOKENS + second;
}

/**
 * @throws {FormatError} `E_LIMIT` for files beyond the limits; `E_CONFIG` when vocab.json is no object of the ids 0 to
 *   n - 1, or merges.txt has a line that is no pair, or a pair that the vocabulary does not know.
 */
export function readVocabulary(vocab: string, merges: string): Vocabulary {
	for (const [name, text] of [
		['vocab.json', vocab],
		['merges.txt', merges],
	] as const) {
		if (text.length > MAX_TOKENIZER_FILE_CHARACTERS) {
			throw new FormatError('E_LIMIT', `${name} has ${text.length} characters; the limit is ${MAX_TOKENIZER_FILE_CHARACTERS}.`);
		}
	}
	const { ids, tokens } = readIds(vocab);
	return {
		ids,
		tokens,
		bytes: BYTE_LETTERS.map((letter) => ids.get(letter)),
		lastBytes: BYTE_LETTERS.map((letter) => ids.get(letter + WORD_END)),
		...readMerges(merges, ids),
	};
}

function readIds(vocab: string): { ids: Map<string, number>; tokens: string[] } {
	let parsed: unknown;
	try {
		parsed = JSON.parse(vocab);
	} catch (cause) {
		throw new FormatError('E_CONFIG', 'vocab.json of the tokenizer is not JSON; fetch it again.', { cause });
	}
	if (typeof parsed !== 'object' || parsed === null || Array.isArray(parsed)) {
		throw new FormatError('E_CONFIG', 'vocab.json of the tokenizer is no object of tokens and ids; fetch it again.');
	}
	const ids = new Map<string, number>(Object.entries(parsed));
	if (ids.size === 0 || ids.size > MAX_TOKENS) {
		throw new FormatError('E_LIMIT', `vocab.json has ${ids.size} tokens; 1 to ${MAX_TOKENS} are read.`);
	}
	const tokens = new Array<string | undefined>(ids.size);
	for (const [token, id] of ids) {
		if (!Number.isInteger(id) || id < 0 || id >= ids.size || tokens[id] !== undefined) {
			throw new FormatError(
				'E_CONFIG',
				`vocab.json gives token ${quote(token)} the id ${quote(String(id))}, where ${ids.size} tokens need each of 0 to ${ids.size - 1} once.`,
			);
		}
		tokens[id] = token;
	}
	return { ids, tokens: tokens.map((token) => token ?? '') };
}

function readMerges(text: string, ids: ReadonlyMap<string, number>): { ranks: Map<number, number>; merged: number[] } {
	const ranks = new Map<number, number>();
	const merged: number[] = [];
	const lines = text.split('\n');
	for (const [i, raw] of lines.entries()) {
		const line = raw.endsWith('\r') ? raw.slice(0, -1) : raw;
		if (line.startsWith('#version') || (line === '' && i === lines.length - 1)) continue;
		const space = line.indexOf(' ');
		const first = ids.get(line.slice(0, Math.max(space, 0)));
		const second = ids.get(line.slice(space + 1));
		const whole = ids.get(line.slice(0, Math.max(space, 0)) + line.slice(space + 1));
		if (space < 1 || first === undefined || second === undefined || whole === undefined) {
			throw new FormatError(
				'E_CONFIG',
				`Line ${i + 1} of merges.txt is ${quote(line)}, which is no pair of tokens that vocab.json knows; take both files from the same tokenizer.`,
			);
		}
		if (merged.length >= MAX_TOKENS) throw new FormatError('E_LIMIT', `merges.txt has more than ${MAX_TOKENS} merges.`);
		// A pair that stands twice counts where it stands last, as in Rust's tokenizers, which insert into a map.
		ranks.set(pairKey(first, second), merged.length);
		merged.push(whole);
	}
	return { ranks, merged };
}
