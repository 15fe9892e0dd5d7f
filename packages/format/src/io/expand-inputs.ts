import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '../errors.js';
import { isMainName } from './companion-names.js';
import { isGlob, matchName, unescapeGlob } from './glob.js';
import { quotePath, readError } from './io-error.js';
import { MAX_EXPANDED_FILES } from './io-limits.js';
import { classifySpec } from './spec-kind.js';

/**
 * The files that the inputs of a batch command mean, in a stable order: each argument's files sorted by code unit, no
 * file twice.
 *
 * - an address or `-` stays as it is; so does the path of a file, also one with `[` in its name;
 * - a folder gives the weight files in it at any depth that can be adapters (no companions of a file that is there, no
 *   optimizer state, nothing that begins with a dot);
 * - a glob (`*`, `?`, `[a-z]`, `**` for any depth) gives the files that match, whatever their extension.
 *
 * Links to files are taken. Links to folders are entered only where the argument names them, never by `**` or below a
 * folder: so there are no circles.
 *
 * @throws {FormatError} `E_IO` when a glob matches nothing or a folder cannot be read; `E_NOT_A_FILE` for a folder without
 * weight files; `E_LIMIT` beyond `MAX_EXPANDED_FILES`.
 */
export async function expandInputs(args: readonly string[]): Promise<string[]> {
	const found = new Set<string>();
	for (const arg of args) for (const file of expandOne(arg)) found.add(file);
	return [...found];
}

function expandOne(arg: string): readonly string[] {
	const kind = classifySpec(arg);
	if (kind.kind !== 'path') return [arg];
	const stat = statQuietly(kind.path);
	if (stat?.isDirectory() === true) return filesOfFolder(kind.path);
	// What is there under this very name is meant, and what cannot be looked at is refused where it is opened.
	if (stat !== undefined || !isGlob(arg)) return [kind.path];
	const files = globFiles(arg);
	if (files.length === 0) throw new FormatError('E_IO', `No file matches ${quotePath(arg)}.`);
	return files;
}

function filesOfFolder(top: string): string[] {
	const files: string[] = [];
	const budget = createBudget(top);
	for (const { folder, entries } of walk(top, budget)) {
		const names = new Set(entries.filter((e) => isFileEntry(folder, e)).map((e) => e.name));
		for (const name of names) if (!name.startsWith('.') && isMainName(name, names)) files.push(path.join(folder, name));
	}
	if (files.length === 0) {
		throw new FormatError('E_NOT_A_FILE', `${quotePath(top)} is a folder without weight files (.safetensors, .bin, .pt) in it.`);
	}
	return files.sort();
}

/** Match a pattern part by part: `bases` are the paths that the parts so far have given. */
function globFiles(pattern: string): string[] {
	const budget = createBudget(pattern);
	const parts = pattern.split(process.platform === 'win32' ? /[/\\]+/ : /\/+/);
	let bases = new Set<string>(['']);
	for (const [i, part] of parts.entries()) {
		const last = i === parts.length - 1;
		const next = new Set<string>();
		for (const base of bases) {
			if (part === '' && i === 0) next.add('/');
			else if (part === '**')
				for (const { folder } of walk(base === '' ? '.' : base, budget)) next.add(base === '' && folder === '.' ? '' : folder);
			else if (!isGlob(part)) next.add(join(base, unescapeGlob(part)));
			else for (const entry of list(base, budget)) if (matchName(part, entry.name)) next.add(join(base, entry.name));
		}
		// A pattern that ends in ** means all files below.
		if (last && part === '**') bases = new Set([...next].flatMap((folder) => visibleFiles(folder, budget)));
		else bases = next;
	}
	return [...bases].filter((file) => statQuietly(file)?.isFile() === true).sort();
}

function visibleFiles(folder: string, budget: Budget): string[] {
	return list(folder, budget)
		.filter((entry) => !entry.name.startsWith('.'))
		.map((entry) => join(folder, entry.name));
}

function list(base: string, budget: Budget): readonly fs.Dirent[] {
	try {
		const entries = fs.readdirSync(base === '' ? '.' : base, { withFileTypes: true });
		budget.take(entries.length);
		return entries;
	} catch (error) {
		if (error instanceof FormatError) throw error;
		return [];
	}
}

/** `top` and the folders below it, links and dot-folders left out; iterative. */
function* walk(top: string, budget: Budget): Generator<{ folder: string; entries: readonly fs.Dirent[] }> {
	const stack = [top];
	for (let folder = stack.pop(); folder !== undefined; folder = stack.pop()) {
		let entries: fs.Dirent[];
		try {
			entries = fs.readdirSync(folder, { withFileTypes: true });
		} catch (error) {
			if (folder === top && fs.existsSync(top)) throw readError(error, top);
			// A folder below that may not be entered does not stop the rest.
			continue;
		}
		budget.take(entries.length);
		for (const entry of entries) if (entry.isDirectory() && !entry.name.startsWith('.')) stack.push(path.join(folder, entry.name));
		yield { folder, entries };
	}
}

interface Budget {
	take(count: number): void;
}

function createBudget(what: string): Budget {
	let left = MAX_EXPANDED_FILES;
	return {
		take(count) {
			left -= count;
			if (left < 0)
				throw new FormatError('E_LIMIT', `${quotePath(what)} means looking at more than ${MAX_EXPANDED_FILES} files; name fewer.`);
		},
	};
}

function isFileEntry(folder: string, entry: fs.Dirent): boolean {
	return entry.isFile() || (entry.isSymbolicLink() && statQuietly(path.join(folder, entry.name))?.isFile() === true);
}

function join(base: string, name: string): string {
	return base === '' ? name : base.endsWith('/') ? base + name : `${base}/${name}`;
}

function statQuietly(file: string): fs.Stats | undefined {
	try {
		return fs.statSync(file, { throwIfNoEntry: false });
	} catch {
		return undefined;
	}
}
