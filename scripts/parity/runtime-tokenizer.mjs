import { existsSync, readFileSync } from 'node:fs';
import path from 'node:path';
import { createClipTokenizer } from '../../packages/runtime/dist/tokenizer/index.js';

/**
 * `inference/tokenizer.json`: ids of transformers' CLIPTokenizer for every prompt, exactly.
 *
 * @param {import('./checks.mjs').Checks} checks
 * @param {string} root the folder `inference` of a reference set; the tokenizer is its neighbour base/tiny-sd/tokenizer
 */
export async function partTokenizer(checks, root) {
	const { rows } = JSON.parse(readFileSync(path.join(root, 'tokenizer.json'), 'utf8'));
	const folder = path.join(root, '../base/tiny-sd/tokenizer');
	const read = (name) => (existsSync(path.join(folder, name)) ? readFileSync(path.join(folder, name), 'utf8') : undefined);
	const tokenizer = createClipTokenizer({
		vocab: read('vocab.json'),
		merges: read('merges.txt'),
		config: read('tokenizer_config.json'),
		specialTokens: read('special_tokens_map.json'),
		addedTokens: read('added_tokens.json'),
	});
	const before = [checks.passed, checks.failed];
	for (const [i, row] of rows.entries()) {
		const where = `inference tokenizer prompt ${i} ${JSON.stringify(row.text.slice(0, 40))}`;
		checks.check(where, 'ids', difference([tokenizer.bos, ...tokenizer.tokenize(row.text), tokenizer.eos], row.ids));
		const { ids, truncated } = tokenizer.encode(row.text);
		checks.check(where, 'ids cut and padded', difference([...ids], row.padded77));
		const cut = row.ids.length > tokenizer.maxLength;
		checks.check(
			where,
			'says whether it was cut',
			(truncated !== undefined) === cut ? undefined : `${truncated === undefined ? 'not ' : ''}cut`,
		);
	}
	console.log(
		`inference tokenizer: ${rows.length} prompts, ${checks.passed - before[0]} checks held, ${checks.failed - before[1]} did not`,
	);
}

/** Where two lists of ids part; undefined where they do not. */
function difference(got, expected) {
	const at = Array.from({ length: Math.max(got.length, expected.length) }, (_, i) => i).find((i) => got[i] !== expected[i]);
	return at === undefined ? undefined : `id ${at} is ${got[at]}, not ${expected[at]}`;
}
