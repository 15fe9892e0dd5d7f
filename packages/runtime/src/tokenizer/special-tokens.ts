import { FormatError, quote } from '@lorakit/format';
import { MAX_ADDED_TOKEN_CHARACTERS, MAX_ADDED_TOKENS, MAX_SEQUENCE_LENGTH, MAX_TOKENIZER_CONFIG_CHARACTERS } from './limits.js';

/** A token that is found in the text as a whole, before any word is. */
export interface AddedToken {
	readonly content: string;
	readonly id: number;
	/** Looked for in the normalized text (so in any case of letters), not in the text as it came. */
	readonly normalized: boolean;
}

/** What the small files of a tokenizer folder say. */
export interface TokenizerSettings {
	readonly maxLength: number;
	readonly bos: number;
	readonly eos: number;
	readonly unknown: number;
	readonly pad: number;
	readonly added: readonly AddedToken[];
}

/** CLIP's positions, where a folder does not say how many. */
const CLIP_LENGTH = 77;
const ROLES = ['bos_token', 'eos_token', 'unk_token', 'pad_token'] as const;
type Role = (typeof ROLES)[number];
const DEFAULTS: Readonly<Record<Role, string>> = {
	bos_token: '<|startoftext|>',
	eos_token: '<|endoftext|>',
	unk_token: '<|endoftext|>',
	pad_token: '<|endoftext|>',
};

/** Texts of the optional files. */
interface SettingsFiles {
	readonly config?: string | undefined;
	readonly specialTokens?: string | undefined;
	readonly addedTokens?: string | undefined;
}

interface Named {
	readonly content: string;
	readonly normalized: boolean;
}

/**
 * Which tokens begin, end and fill a text, and which are found whole, by the rules of transformers 5
 * (src/transformers/tokenization_utils_base.py, _from_pretrained): `added_tokens_decoder` of the configuration decides
 * where it is there; else special_tokens_map.json goes before tokenizer_config.json, and a token written as an object
 * says itself whether it is looked for in the normalized text, while a plain string is not. SD2 pads with "!", which so
 * becomes a token of its own wherever it stands in a prompt.
 *
 * @param ids of the vocabulary
 * @throws {FormatError} `E_LIMIT` for large files, `E_CONFIG` for what makes no sense.
 */
export function readSettings(files: SettingsFiles, ids: ReadonlyMap<string, number>): TokenizerSettings {
	const config = readObject('tokenizer_config.json', files.config);
	const decoder = config.get('added_tokens_decoder');
	const special = decoder === undefined ? readObject('special_tokens_map.json', files.specialTokens) : new Map<string, unknown>();
	const beside = decoder === undefined ? readObject('added_tokens.json', files.addedTokens) : new Map<string, unknown>();

	const added = new Map<string, AddedToken>();
	const set = (token: AddedToken): void => {
		added.set(token.content, token);
	};
	if (decoder !== undefined) for (const token of readDecoder(decoder, ids)) set(token);
	for (const [content, id] of beside) set(checkAdded({ content, id: Number(id), normalized: true }, 'added_tokens.json', ids));
	checkIds(added, ids.size);
	const role = (name: Role): number => {
		const named = readNamed(special.get(name) ?? config.get(name), name) ?? { content: DEFAULTS[name], normalized: false };
		const id = added.get(named.content)?.id ?? ids.get(named.content);
		if (id === undefined) {
			throw new FormatError(
				'E_CONFIG',
				`The tokenizer's ${name} is ${quote(named.content)}, which vocab.json does not know; the model has no row for it.`,
			);
		}
		if (decoder === undefined || !added.has(named.content)) set({ ...named, id });
		return id;
	};
	const [bos, eos, unknown, pad] = ROLES.map(role) as [number, number, number, number];
	return { maxLength: readLength(config.get('model_max_length')), bos, eos, unknown, pad, added: [...added.values()] };
}

function readDecoder(decoder: unknown, ids: ReadonlyMap<string, number>): AddedToken[] {
	if (!isObject(decoder)) throw new FormatError('E_CONFIG', 'added_tokens_decoder of tokenizer_config.json is no object.');
	return Object.entries(decoder).map(([id, value]) => {
		const named = readNamed(value, `added_tokens_decoder ${id}`);
		if (named === undefined || !/^\d{1,9}$/.test(id)) {
			throw new FormatError('E_CONFIG', `Entry ${quote(id)} of added_tokens_decoder in tokenizer_config.json is no token with an id.`);
		}
		return checkAdded({ ...named, id: Number(id) }, 'added_tokens_decoder', ids);
	});
}

/** A token that the vocabulary has must have the vocabulary's id there. */
function checkAdded(token: AddedToken, file: string, ids: ReadonlyMap<string, number>): AddedToken {
	const known = ids.get(token.content);
	if (!Number.isInteger(token.id) || token.content.trim() === '' || (known !== undefined && known !== token.id)) {
		const also = known === undefined ? '' : `; vocab.json gives it ${known}`;
		throw new FormatError('E_CONFIG', `${file} gives token ${quote(token.content)} the id ${token.id}${also}.`);
	}
	return token;
}

/** Tokens beyond the vocabulary must follow it without a gap, as the rows of the embedding do. */
function checkIds(added: ReadonlyMap<string, AddedToken>, size: number): void {
	if (added.size > MAX_ADDED_TOKENS)
		throw new FormatError('E_LIMIT', `The tokenizer adds ${added.size} tokens; the limit is ${MAX_ADDED_TOKENS}.`);
	const beyond = [...added.values()].filter((token) => token.id >= size || token.id < 0).sort((a, b) => a.id - b.id);
	beyond.forEach((token, i) => {
		if (token.id !== size + i) {
			throw new FormatError('E_CONFIG', `The added token ${quote(token.content)} has the id ${token.id} where ${size + i} comes next.`);
		}
	});
}

function readNamed(value: unknown, where: string): Named | undefined {
	if (value === undefined || value === null) return undefined;
	const content = isObject(value) ? value['content'] : value;
	if (typeof content !== 'string' || content.trim() === '' || content.length > MAX_ADDED_TOKEN_CHARACTERS) {
		throw new FormatError(
			'E_CONFIG',
			`The tokenizer's ${where} is no token: its text must have 1 to ${MAX_ADDED_TOKEN_CHARACTERS} characters.`,
		);
	}
	if (isObject(value) && value['single_word'] === true) {
		throw new FormatError(
			'E_CONFIG',
			`The tokenizer's ${where} is found between word boundaries only (single_word), which no CLIP tokenizer does.`,
		);
	}
	return { content, normalized: isObject(value) && value['normalized'] === true };
}

/** transformers writes 1e30 where nothing was said. */
function readLength(value: unknown): number {
	if (value === undefined || value === null || (typeof value === 'number' && value >= 1e9)) return CLIP_LENGTH;
	if (typeof value !== 'number' || !Number.isInteger(value) || value < 3) {
		throw new FormatError(
			'E_CONFIG',
			`model_max_length of tokenizer_config.json is ${quote(String(value))}; a whole number from 3 up was expected.`,
		);
	}
	if (value > MAX_SEQUENCE_LENGTH) {
		throw new FormatError('E_LIMIT', `model_max_length of tokenizer_config.json is ${value}; the limit is ${MAX_SEQUENCE_LENGTH}.`);
	}
	return value;
}

function readObject(name: string, text: string | undefined): Map<string, unknown> {
	if (text === undefined) return new Map();
	if (text.length > MAX_TOKENIZER_CONFIG_CHARACTERS) {
		throw new FormatError('E_LIMIT', `${name} has ${text.length} characters; the limit is ${MAX_TOKENIZER_CONFIG_CHARACTERS}.`);
	}
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch (cause) {
		throw new FormatError('E_CONFIG', `${name} of the tokenizer is not JSON; fetch it again.`, { cause });
	}
	if (!isObject(value)) throw new FormatError('E_CONFIG', `${name} of the tokenizer is no JSON object; fetch it again.`);
	return new Map(Object.entries(value));
}

function isObject(value: unknown): value is Readonly<Record<string, unknown>> {
	return typeof value === 'object' && value !== null && !Array.isArray(value);
}
