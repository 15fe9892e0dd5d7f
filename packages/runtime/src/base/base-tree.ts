import { type ByteSource, FormatError, quote } from '@lorakit/format';
import { parsePythonJson } from '../schedulers/python-json.js';

/** The files of a base model, wherever they are. Paths have `/` and are relative to the model's folder. */
export interface BaseTree {
	/** What to call the model in messages. */
	readonly name: string;
	readonly paths: readonly string[];
	/** Open one of `paths`. Whoever called closes it, through `close`. */
	open(path: string): Promise<ByteSource>;
	close(source: ByteSource): Promise<void>;
}

/** Largest configuration, vocabulary or list of merges (CLIP's vocabulary has 0.9 MB). */
const MAX_TEXT_BYTES = 16 * 1024 * 1024;

/** A tree over sources that are the caller's: they are not closed. */
export function treeOfSources(files: ReadonlyMap<string, ByteSource>, name: string): BaseTree {
	return {
		name,
		paths: [...files.keys()],
		async open(path) {
			const source = files.get(path);
			if (source === undefined) throw new FormatError('E_IO', `${quote(path)} is not among the files of ${quote(name)}.`, { at: path });
			return source;
		},
		async close() {},
	};
}

/** The part of a tree below one folder, with paths relative to it. */
export function subtree(tree: BaseTree, folder: string): BaseTree {
	if (folder === '') return tree;
	const prefix = `${folder}/`;
	return {
		name: tree.name,
		paths: tree.paths.filter((path) => path.startsWith(prefix)).map((path) => path.slice(prefix.length)),
		open: (path) => tree.open(prefix + path),
		close: (source) => tree.close(source),
	};
}

/** The text of a small file; undefined when the tree has none of that path. @throws {FormatError} `E_LIMIT`, `E_CONFIG`. */
export async function readTreeText(tree: BaseTree, path: string): Promise<string | undefined> {
	if (!tree.paths.includes(path)) return undefined;
	const source = await tree.open(path);
	try {
		if (source.size > MAX_TEXT_BYTES) {
			throw new FormatError('E_LIMIT', `${quote(path)} has ${source.size} bytes; such a file has at most ${MAX_TEXT_BYTES}.`, { at: path });
		}
		return new TextDecoder('utf-8', { fatal: true }).decode(await source.read(0, source.size));
	} catch (error) {
		if (!(error instanceof TypeError)) throw error;
		throw new FormatError('E_CONFIG', `${quote(path)} is no UTF-8 text; fetch it again.`, { at: path, cause: error });
	} finally {
		await tree.close(source);
	}
}

/** A parsed JSON file; undefined when the tree has none of that path. @throws {FormatError} `E_LIMIT`, `E_CONFIG`. */
export async function readTreeJson(tree: BaseTree, path: string): Promise<unknown> {
	const text = await readTreeText(tree, path);
	if (text === undefined) return undefined;
	try {
		return parsePythonJson(text);
	} catch (error) {
		throw new FormatError(
			'E_CONFIG',
			`${quote(path)} is no JSON (${error instanceof Error ? error.message : 'unreadable'}); fetch it again.`,
			{
				at: path,
				cause: error,
			},
		);
	}
}
