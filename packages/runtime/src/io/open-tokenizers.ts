import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { readError } from '@lorakit/format/node';
import type { Base, TokenizerFiles } from '../base/base.js';
import { type ClipTokenizer, createClipTokenizer } from '../tokenizer/index.js';

type Texts = Omit<TokenizerFiles, 'component' | 'tokenizerJson'>;

const FILES: Readonly<Record<keyof Texts, string>> = {
	vocab: 'vocab.json',
	merges: 'merges.txt',
	tokenizerConfig: 'tokenizer_config.json',
	specialTokensMap: 'special_tokens_map.json',
	addedTokens: 'added_tokens.json',
};

/** CLIP's vocabulary has 1 MB. */
const MAX_BYTES = 64 * 1024 * 1024;

/**
 * A tokenizer for every text encoder: those of the base, or of `folder` (vocab.json and merges.txt in it, or in its
 * folders `tokenizer` and `tokenizer_2`). What such a folder lacks of settings is the base's.
 * @param option what the user names the folder with, for messages: `--tokenizer`
 * @throws {FormatError} `E_USAGE` when there is none, `E_LIMIT`, and those of reading and of the tokenizer.
 */
export async function openTokenizers(
	base: Pick<Base, 'name' | 'textEncoders' | 'tokenizers'>,
	folder: string | undefined,
	option: string,
): Promise<readonly ClipTokenizer[]> {
	const out: ClipTokenizer[] = [];
	for (const [i, { component }] of base.textEncoders.entries()) {
		const name = i === 0 ? 'tokenizer' : 'tokenizer_2';
		const own = base.tokenizers.find((files) => files.component === name);
		const texts = folder === undefined ? own : { ...own, ...(await readFolder(folder, name, base.textEncoders.length, option)) };
		if (texts?.vocab === undefined || texts.merges === undefined) {
			throw new FormatError(
				'E_USAGE',
				`${quote(base.name)} has no vocab.json and merges.txt for ${component}; name a folder that has them with ${option} (the tokenizer folder of any model of the same kind).`,
			);
		}
		out.push(
			createClipTokenizer({
				vocab: texts.vocab,
				merges: texts.merges,
				config: texts.tokenizerConfig,
				specialTokens: texts.specialTokensMap,
				addedTokens: texts.addedTokens,
			}),
		);
	}
	return out;
}

/** The files that are there. */
async function readFolder(folder: string, name: string, encoders: number, option: string): Promise<Partial<Texts>> {
	const inside = path.join(folder, name);
	const root = fs.existsSync(inside) ? inside : folder;
	if (!fs.existsSync(path.join(root, FILES.vocab))) {
		throw new FormatError(
			'E_USAGE',
			`${quote(folder)} has no ${FILES.vocab}, neither in it nor in its folder ${name}; ${option} names a tokenizer's folder.`,
		);
	}
	if (root === folder && encoders > 1) {
		throw new FormatError(
			'E_USAGE',
			`This base has ${encoders} text encoders, so ${option} must name the folder that holds tokenizer and tokenizer_2.`,
		);
	}
	const texts = new Map<string, string>();
	for (const [key, file] of Object.entries(FILES)) {
		const here = path.join(root, file);
		const stat = fs.statSync(here, { throwIfNoEntry: false });
		if (stat === undefined) continue;
		if (stat.size > MAX_BYTES) throw new FormatError('E_LIMIT', `${quote(here)} has ${stat.size} bytes; the limit is ${MAX_BYTES}.`);
		try {
			texts.set(key, await fs.promises.readFile(here, 'utf8'));
		} catch (error) {
			throw readError(error, here);
		}
	}
	return Object.fromEntries(texts);
}
