import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '../errors.js';
import { kindOf } from './file-source.js';
import { quotePath, readError } from './io-error.js';
import { MAX_EXPANDED_FILES, MAX_TREE_DEPTH } from './io-limits.js';

/** Names that belong to tools, not to the model: a clone's history and download bookkeeping. */
const SKIPPED: ReadonlySet<string> = new Set(['.git', '.cache']);

/**
 * All regular files under a folder, as paths relative to it with `/`, sorted. Symbolic links are followed (a snapshot
 * in the Hub's cache is nothing but links); `.git` and `.cache` are passed over.
 *
 * @throws {FormatError} `E_NOT_A_FILE` for a pipe, socket or device in it; `E_IO` for a link to nothing or an unreadable
 * folder; `E_LIMIT` for too many files, or links that go in a circle.
 */
export function listTree(folder: string): readonly string[] {
	const files: string[] = [];
	const folders: (readonly [string, number])[] = [['', 0]];
	for (let next = folders.pop(); next !== undefined; next = folders.pop()) {
		const [at, depth] = next;
		if (depth > MAX_TREE_DEPTH) {
			throw new FormatError('E_LIMIT', `${quotePath(folder)} is more than ${MAX_TREE_DEPTH} folders deep; links may go in a circle.`);
		}
		const here = path.join(folder, at);
		try {
			for (const name of fs.readdirSync(here)) {
				if (SKIPPED.has(name)) continue;
				const relative = at === '' ? name : `${at}/${name}`;
				const stat = fs.statSync(path.join(here, name), { throwIfNoEntry: false });
				if (stat === undefined) {
					throw new FormatError(
						'E_IO',
						`${quotePath(path.join(here, name))} is a link to a file that does not exist; fetch the model again.`,
					);
				}
				if (stat.isDirectory()) folders.push([relative, depth + 1]);
				else if (stat.isFile()) files.push(relative);
				else
					throw new FormatError(
						'E_NOT_A_FILE',
						`${quotePath(path.join(here, name))} is ${kindOf(stat) ?? 'no file'}; take it out of the folder.`,
					);
				if (files.length > MAX_EXPANDED_FILES) {
					throw new FormatError('E_LIMIT', `${quotePath(folder)} holds more than ${MAX_EXPANDED_FILES} files; this is no model folder.`);
				}
			}
		} catch (error) {
			throw readError(error, here);
		}
	}
	return files.sort();
}
