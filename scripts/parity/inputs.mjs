import { readFileSync } from 'node:fs';
import path from 'node:path';
import { decodeAdapter, FormatError, loadInput, openSource, openStateDict, resolveInput } from './library.mjs';

/** Codes with which the library says "the file alone does not decide": the answer is then --base or --order. */
const UNDECIDED = new Set(['E_AMBIGUOUS', 'E_MODULE_ORDER', 'E_MODULE_UNRESOLVED']);

/** Open a file and what lies beside it, as the command line does. @param {string} file */
export async function openInput(file) {
	const found = await resolveInput(file);
	const { companions } = found;
	return loadInput({
		main: await openSource(found.main),
		textEncoder: companions.textEncoder === undefined ? undefined : await openSource(companions.textEncoder),
		embeddings: await Promise.all(companions.embeddings.map((name) => openSource(name))),
		config: companions.config === undefined ? undefined : readFileSync(companions.config, 'utf8'),
	});
}

/**
 * Read an adapter by its file alone; where the library refuses to guess, with what it asks for.
 *
 * @param {import('../../packages/format/dist/layouts/layout.js').LayoutInput} input
 * @param {{ base: unknown, order: 'old' | 'new' | undefined }} help
 */
export function decodeWithHelp(input, help) {
	const attempts = [
		{ input, options: {}, needed: 'nothing' },
		{ input: { ...input, base: help.base }, options: {}, needed: '--base' },
		{ input, options: { order: help.order }, needed: '--order' },
		{ input: { ...input, base: help.base }, options: { order: help.order }, needed: '--base and --order' },
	];
	let first;
	for (const attempt of attempts) {
		if (attempt.needed.includes('--base') && help.base === undefined) continue;
		if (attempt.needed.includes('--order') && help.order === undefined) continue;
		try {
			return { ...attempt, decoded: decodeAdapter(attempt.input, attempt.options) };
		} catch (error) {
			first ??= error;
			if (!(error instanceof FormatError) || !UNDECIDED.has(error.code)) throw error;
		}
	}
	throw first;
}

/** Class order of cloneofsimo's lists, from the diffusers release that the manifest names as producer. @param {readonly { name: string, version?: string }[] | undefined} producers */
export function orderOf(producers) {
	const version = producers?.find((p) => p.name.endsWith('diffusers'))?.version;
	if (version === undefined) return undefined;
	const [major = 0, minor = 0] = version.split('.').map(Number);
	return major === 0 && minor <= 14 ? 'old' : 'new';
}

/** @param {string} file */
export async function openFile(file) {
	return openStateDict(await openSource(path.resolve(file)));
}
