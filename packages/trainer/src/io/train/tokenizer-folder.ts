import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { readError } from '@lorakit/format/node';
import type { TokenizerFiles } from '@lorakit/runtime';

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
 * The files of a tokenizer that are in a folder, or in its folder of that name.
 * @param encoders of the base: two tokenizers, which differ in their padding, have a folder each
 * @throws {FormatError} `E_USAGE` when there is no vocab.json, `E_LIMIT`, `E_IO`
 */
export async function openTokenizerFolder(folder: string, name: string, encoders: number): Promise<Partial<Texts>> {
	const inside = path.join(folder, name);
	const root = fs.existsSync(inside) ? inside : folder;
	if (!fs.existsSync(path.join(root, FILES.vocab))) {
		throw new FormatError('E_USAGE', `${quote(folder)} has no ${FILES.vocab}, neither in it nor in its folder ${name}.`);
	}
	if (root === folder && encoders > 1) {
		throw new FormatError(
			'E_USAGE',
			`This base has ${encoders} text encoders, so tokenizer must name the folder that holds tokenizer and tokenizer_2.`,
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
