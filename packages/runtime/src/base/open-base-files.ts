import type { ByteSource } from '@lorakit/format';
import type { Base, BaseOptions } from './base.js';
import { type BaseTree, subtree, treeOfSources } from './base-tree.js';
import { openBaseTree } from './open-base-tree.js';

/** Options of `openBaseFiles`. */
export interface OpenBaseFilesOptions extends BaseOptions {
	/** What to call the model in messages; default: the folder that all paths share, or `base`. */
	readonly name?: string | undefined;
}

/**
 * Open a base model whose files are at hand, as in a browser: a dropped diffusers folder, or one single-file checkpoint,
 * if need be together with a folder of configuration and tokenizer files. The sources stay the caller's: `close` of the
 * base leaves them open, and they have to be there as long as it is used.
 *
 * @param files by path with `/`; the folder that was dropped may be the first part of all of them
 * @throws {FormatError} as `openBaseTree`.
 */
export async function openBaseFiles(files: ReadonlyMap<string, ByteSource>, options: OpenBaseFilesOptions = {}): Promise<Base> {
	const root = rootOf([...files.keys()]);
	const name = options.name ?? (root === '' ? 'base' : (root.split('/').pop() ?? root));
	const tree: BaseTree = treeOfSources(files, name);
	return openBaseTree(subtree(tree, root), options);
}

/** The folder that holds the model: where its index is, or its UNet; the shortest path when there are several. */
function rootOf(paths: readonly string[]): string {
	for (const mark of ['model_index.json', 'unet/config.json']) {
		const found = paths.filter((path) => path === mark || path.endsWith(`/${mark}`)).sort((a, b) => a.length - b.length)[0];
		if (found !== undefined) return found.slice(0, Math.max(0, found.length - mark.length - 1));
	}
	return '';
}
