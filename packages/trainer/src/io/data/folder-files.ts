import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import { errnoOf, readError } from '@lorakit/format/node';

/** Files of one data set. LAION-size sets come as tables, not as folders. */
export const MAX_FOLDER_FILES: number = 1_000_000;
/** Folders within folders. */
export const MAX_FOLDER_DEPTH: number = 32;

/** A file below a data set's folder. */
export interface FolderFile {
	/** Below the folder, with `/`. */
	readonly name: string;
	/** Where to open it. */
	readonly path: string;
}

/** A name that stands for no file of the set. */
export interface UnsafeName {
	readonly name: string;
	readonly message: string;
}

export interface FolderFiles {
	/** Sorted by name. */
	readonly files: readonly FolderFile[];
	readonly unsafe: readonly UnsafeName[];
}

/**
 * All files below a folder. Links are followed only to what lies in the folder itself, or, in a snapshot of the Hub's cache, in
 * the blobs of its repository: pictures of a set come from anybody, and a link may point at anything. Hidden names are passed over.
 * @throws {FormatError} `E_IO` for a folder that cannot be read, `E_NOT_A_FILE` for one that is none, `E_LIMIT`
 */
export function folderFiles(folder: string): FolderFiles {
	const roots = allowedRoots(folder);
	const files: FolderFile[] = [];
	const unsafe: UnsafeName[] = [];
	// A link back to a folder above would never end, and one to a folder beside would give its pictures twice.
	const seen = new Set<string>(roots.slice(0, 1));
	const waiting: Folder[] = [{ name: '', depth: 0, real: '' }];
	const linked: Folder[] = [];
	for (let next = waiting.pop(); next !== undefined; next = waiting.pop() ?? nextLinked(linked, seen, unsafe)) {
		const { name: at, depth } = next;
		if (depth > MAX_FOLDER_DEPTH) throw new FormatError('E_LIMIT', `${quote(folder)} is more than ${MAX_FOLDER_DEPTH} folders deep.`);
		for (const entry of entriesOf(path.join(folder, at))) {
			if (entry.startsWith('.')) continue;
			const name = at === '' ? entry : `${at}/${entry}`;
			const found = look(path.join(folder, name), roots);
			if ('wrong' in found) unsafe.push({ name, message: `${quote(name)} ${found.wrong}` });
			else if (!found.isFolder) files.push({ name, path: path.join(folder, name) });
			else if (found.isLink) linked.push({ name, depth: depth + 1, real: found.real });
			else {
				seen.add(found.real);
				waiting.push({ name, depth: depth + 1, real: found.real });
			}
			if (files.length + unsafe.length > MAX_FOLDER_FILES) {
				throw new FormatError(
					'E_LIMIT',
					`${quote(folder)} holds more than ${MAX_FOLDER_FILES} files; a set of this size belongs in Parquet.`,
				);
			}
		}
	}
	return { files: files.sort(byName), unsafe: unsafe.sort(byName) };
}

/** A folder that is still to be read. */
interface Folder {
	readonly name: string;
	readonly depth: number;
	readonly real: string;
}

/** Links to folders come last, so that it does not matter in which order the system lists names. */
function nextLinked(linked: Folder[], seen: Set<string>, unsafe: UnsafeName[]): Folder | undefined {
	linked.sort(byName).reverse();
	for (let next = linked.pop(); next !== undefined; next = linked.pop()) {
		if (!seen.has(next.real)) {
			seen.add(next.real);
			return next;
		}
		unsafe.push({ name: next.name, message: `${quote(next.name)} is a link to a folder that is read already; take it away.` });
	}
	return undefined;
}

/** The same on every machine and in every language. */
function byName(a: { readonly name: string }, b: { readonly name: string }): number {
	return a.name < b.name ? -1 : a.name > b.name ? 1 : 0;
}

function allowedRoots(folder: string): readonly string[] {
	let real: string;
	try {
		real = fs.realpathSync(folder);
		if (!fs.statSync(real).isDirectory())
			throw new FormatError('E_NOT_A_FILE', `${quote(folder)} is no folder; a set is a folder of pictures.`);
	} catch (error) {
		throw readError(error, folder);
	}
	const parts = real.split(path.sep);
	const snapshots = parts.lastIndexOf('snapshots');
	const repository = parts[snapshots - 1];
	// .../datasets--owner--name/snapshots/REVISION/...: its files are links into .../blobs
	const ofHub = snapshots > 0 && repository !== undefined && /^(datasets|models)--/.test(repository);
	return ofHub ? [real, [...parts.slice(0, snapshots), 'blobs'].join(path.sep)] : [real];
}

function entriesOf(folder: string): readonly string[] {
	try {
		return fs.readdirSync(folder);
	} catch (error) {
		throw readError(error, folder);
	}
}

type Found = { readonly wrong: string } | { readonly real: string; readonly isFolder: boolean; readonly isLink: boolean };

function look(file: string, roots: readonly string[]): Found {
	let real: string;
	let stat: fs.Stats;
	let isLink: boolean;
	try {
		isLink = fs.lstatSync(file).isSymbolicLink();
		real = fs.realpathSync(file);
		stat = fs.statSync(real);
	} catch (error) {
		const code = errnoOf(error);
		if (code === 'ENOENT') return { wrong: 'is a link to nothing; put the file there.' };
		return { wrong: `cannot be looked at (${code ?? 'no reason given'}); put the file itself there.` };
	}
	if (!roots.some((root) => isBelow(real, root))) return { wrong: 'is a link that leads out of the folder; copy the file into it.' };
	if (stat.isDirectory()) return { real, isFolder: true, isLink };
	return stat.isFile() ? { real, isFolder: false, isLink } : { wrong: 'is a pipe, a socket or a device; only files are read.' };
}

function isBelow(file: string, root: string): boolean {
	const relative = path.relative(root, file);
	return relative !== '..' && !relative.startsWith(`..${path.sep}`) && !path.isAbsolute(relative);
}

/**
 * A path that a metadata.jsonl names, relative to its folder, as the name of a file of the set.
 * @returns undefined for one that leads out of it: absolute, with `..`, a drive, a backslash or NUL
 */
export function nameBelow(folder: string, given: string): string | undefined {
	if (/^([/\\]|[a-zA-Z]:)|[\\\0]/.test(given)) return undefined;
	const parts = given.split('/').filter((part) => part !== '' && part !== '.');
	if (parts.length === 0 || parts.includes('..')) return undefined;
	return folder === '' ? parts.join('/') : `${folder}/${parts.join('/')}`;
}
