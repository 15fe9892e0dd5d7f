import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { listTree, openSource, snapshotOfRepoFolder } from '@lorakit/format/node';
import type { Base, BaseOptions } from '../base/base.js';
import type { BaseTree } from '../base/base-tree.js';
import { openBaseTree } from '../base/open-base-tree.js';

/** Options of `openBase`. */
export interface OpenBaseOptions extends BaseOptions {
	/**
	 * For a single file: a folder with the `config.json` files of its components, a scheduler and tokenizers, as much of it
	 * as there is. Needed where the widths are not those of a published model; diffusers' `from_single_file(config=)`.
	 */
	readonly config?: string | undefined;
}

/** Folders of a diffusers model that inference reads; others (safety_checker, feature_extractor) are not even listed. */
const FOLDERS = ['unet', 'vae', 'text_encoder', 'text_encoder_2', 'scheduler', 'tokenizer', 'tokenizer_2'] as const;
/** Files of them that are no weights. */
const TEXTS = /\.(json|txt)$/;

/**
 * Open a Stable Diffusion base model for inference.
 *
 * @param spec a diffusers folder (also a `models--owner--name` folder of the Hub's cache, whose links are followed), or a
 * single-file checkpoint: a path, or an address of `http(s)://` or `hf://`
 * @throws {FormatError} as `openBaseTree`; `E_IO` and `E_NOT_A_FILE` for what cannot be opened.
 */
export async function openBase(spec: string, options: OpenBaseOptions = {}): Promise<Base> {
	const stat = spec.includes('://') ? undefined : fs.statSync(spec, { throwIfNoEntry: false });
	if (stat?.isDirectory() === true) {
		if (options.config !== undefined) {
			throw new FormatError('E_USAGE', `${quote(spec)} is a folder and has its own configuration; leave config out.`);
		}
		return openBaseTree(folderTree(spec), options);
	}
	return openBaseTree(fileTree(spec, options.config), options);
}

function folderTree(spec: string): BaseTree {
	const root = snapshotOfRepoFolder(spec) ?? spec;
	return {
		name: path.basename(path.resolve(spec)),
		paths: listModel(root),
		open: (file) => openSource(path.join(root, file)),
		close: (source) => source.close(),
	};
}

/** The checkpoint under its own name, the texts of the configuration folder beside it. */
function fileTree(spec: string, config: string | undefined): BaseTree {
	const name = spec.split(/[/\\]/).pop() || spec;
	// Whatever it is called: the bytes decide.
	const own = /\.(safetensors|ckpt|pt|pth|bin)$/i.test(name) ? name : `${name}.ckpt`;
	const root = config === undefined ? undefined : (snapshotOfRepoFolder(config) ?? config);
	if (root !== undefined && fs.statSync(root, { throwIfNoEntry: false })?.isDirectory() !== true) {
		throw new FormatError('E_IO', `${quote(root)} is no folder; config names the folder with the config.json files of the base.`);
	}
	const texts = root === undefined ? [] : listModel(root).filter((file) => TEXTS.test(file));
	return {
		name,
		paths: [own, ...texts],
		open: (file) => openSource(file === own || root === undefined ? spec : path.join(root, file)),
		close: (source) => source.close(),
	};
}

/** The files at the top of a model and in its component folders, with `/`. */
function listModel(root: string): readonly string[] {
	const files: string[] = [];
	for (const entry of readFolder(root)) {
		const here = path.join(root, entry);
		const stat = fs.statSync(here, { throwIfNoEntry: false });
		if (stat?.isFile() === true) files.push(entry);
		else if (stat?.isDirectory() === true && FOLDERS.some((folder) => folder === entry)) {
			files.push(...listTree(here).map((file) => `${entry}/${file}`));
		}
	}
	return files;
}

function readFolder(root: string): readonly string[] {
	try {
		return fs.readdirSync(root).sort();
	} catch (error) {
		throw new FormatError('E_IO', `${quote(root)} cannot be listed: ${error instanceof Error ? error.message : String(error)}.`, {
			cause: error,
		});
	}
}
