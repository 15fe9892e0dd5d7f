import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '../errors.js';
import { chooseAdapter } from './choose-adapter.js';
import { type Companions, type FolderLister, findCompanions, NO_COMPANIONS } from './companions.js';
import { snapshotOfRepoFolder } from './hub-cache.js';
import { quotePath, readError } from './io-error.js';
import { MAX_EXPANDED_FILES } from './io-limits.js';
import type { OpenOptions } from './open-source.js';
import { classifySpec } from './spec-kind.js';

/** What an input spec turned out to mean. Nothing is opened yet. */
export interface ResolvedInput {
	/** The adapter's own file: a path or a spec for `openSource`. */
	readonly main: string;
	readonly companions: Companions;
	/** When a folder or repository was named: weight files in it that were not taken. Name them to the user. */
	readonly others: readonly string[];
}

export interface ResolveOptions extends OpenOptions {
	/** See `findCompanions`. */
	readonly list?: FolderLister | undefined;
}

/**
 * Find the adapter that a spec means and the files that belong to it.
 *
 * - a file: itself, with what lies beside it;
 * - a folder (PEFT, diffusers, a Hub snapshot or `models--owner--repo`): the one adapter in it, sub-folders one level deep;
 * - `hf://owner/repo`: the one adapter in the repository; `hf://owner/repo/file`: that file, companions from the Hub;
 * - `http(s)://.../adapter_model.*`: with `adapter_config.json` from the same place, when it is there. Other companions
 *   of a Web address are not looked for (nothing lists them);
 * - `-`: standard input, without companions.
 *
 * @throws {FormatError} `E_AMBIGUOUS` for several adapters; `E_NOT_A_FILE` for a folder without one; `E_HUB` for a
 * repository without one; `E_IO`, `E_HTTP`.
 */
export async function resolveInput(spec: string, options: ResolveOptions = {}): Promise<ResolvedInput> {
	const kind = classifySpec(spec, options.env);
	if (kind.kind === 'stdin') return { main: spec, companions: NO_COMPANIONS, others: [] };
	if (kind.kind === 'hub') return (await import('./resolve-hub.js')).resolveHub(kind.hub, options);
	if (kind.kind === 'http') return (await import('./resolve-hub.js')).resolveHttp(kind.url, options);
	let isFolder: boolean;
	try {
		isFolder = fs.statSync(kind.path, { throwIfNoEntry: false })?.isDirectory() === true;
	} catch (error) {
		throw readError(error, kind.path);
	}
	// What is no folder and no file either is refused where it is opened.
	if (!isFolder) return { main: kind.path, companions: await findCompanions(kind.path, options.list), others: [] };
	return resolveFolder(kind.path, options.list);
}

/** The one adapter in a folder. @throws {FormatError} `E_AMBIGUOUS`, `E_NOT_A_FILE`, `E_IO`. */
export async function resolveFolder(folder: string, list?: FolderLister): Promise<ResolvedInput> {
	try {
		const root = snapshotOfRepoFolder(folder) ?? folder;
		const choice = chooseAdapter(listTwoLevels(root), folder);
		if (choice === undefined) {
			throw new FormatError(
				'E_NOT_A_FILE',
				`${quotePath(folder)} is a folder without an adapter in it; name a weight file, or a folder with one.`,
			);
		}
		const main = path.join(root, choice.main);
		return { main, companions: await findCompanions(main, list), others: choice.others.map((other) => path.join(root, other)) };
	} catch (error) {
		throw readError(error, folder);
	}
}

/** Regular files of a folder and of its direct sub-folders, as relative paths with `/`. */
function listTwoLevels(folder: string): string[] {
	const files: string[] = [];
	const folders: string[] = [];
	for (const name of fs.readdirSync(folder)) {
		const stat = statQuietly(path.join(folder, name));
		if (stat?.isFile() === true) files.push(name);
		else if (stat?.isDirectory() === true && !name.startsWith('.')) folders.push(name);
	}
	for (const sub of folders) {
		for (const name of readQuietly(path.join(folder, sub))) {
			if (statQuietly(path.join(folder, sub, name))?.isFile() === true) files.push(`${sub}/${name}`);
			if (files.length > MAX_EXPANDED_FILES)
				throw new FormatError('E_LIMIT', `${quotePath(folder)} holds more than ${MAX_EXPANDED_FILES} files; name one.`);
		}
	}
	return files;
}

function statQuietly(file: string): fs.Stats | undefined {
	try {
		return fs.statSync(file, { throwIfNoEntry: false });
	} catch {
		return undefined;
	}
}

function readQuietly(folder: string): readonly string[] {
	try {
		return fs.readdirSync(folder);
	} catch {
		return [];
	}
}
