import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { UsageError } from '../usage-error.js';
import type { Case } from './case.js';

/** Hash and size of one file under `files/`. */
export interface FileEntry {
	readonly sha256: string;
	readonly bytes: number;
	readonly made: string;
}

/** The cases and where they lie. */
export interface Suite {
	/** Version of the suite. */
	readonly version: string;
	/** Absolute path of the folder `cases`. */
	readonly dir: string;
	/** Sorted by id, code point order. */
	readonly cases: readonly Case[];
	/** By path relative to `dir`. */
	readonly files: ReadonlyMap<string, FileEntry>;
}

/** The suite that comes with this package. */
export const OWN_SUITE: string = fileURLToPath(new URL('../../cases', import.meta.url));

/** The folder of this package. */
export const OWN_PACKAGE: string = fileURLToPath(new URL('../..', import.meta.url));

/**
 * Read every group file of a suite.
 * @throws {UsageError} no manifest, a broken group file, an id twice, a file that is not in the manifest.
 */
export function loadSuite(dir: string = OWN_SUITE): Suite {
	const manifest = readJson(path.join(dir, 'manifest.json')) as { readonly suite: string; readonly files: Record<string, FileEntry> };
	const files = new Map(Object.entries(manifest.files));
	const cases: Case[] = [];
	const seen = new Map<string, string>();
	for (const group of groupFiles(dir)) {
		const list = readJson(group) as readonly Case[];
		if (!Array.isArray(list)) throw new UsageError(`${group} is no array of cases.`);
		for (const entry of list as readonly Case[]) {
			const other = seen.get(entry.id);
			if (other !== undefined) throw new UsageError(`The id ${entry.id} is in ${other} and in ${group}; ids are unique.`);
			seen.set(entry.id, group);
			for (const file of fileRefs(entry)) {
				if (!files.has(file)) throw new UsageError(`Case ${entry.id} names ${file}, which is not in manifest.json.`);
			}
			cases.push(entry);
		}
	}
	cases.sort((a, b) => (a.id < b.id ? -1 : a.id > b.id ? 1 : 0));
	return { version: manifest.suite, dir, cases, files };
}

/** Every path under `files/` that a case names, in request, expectation and profiles; each once. */
export function fileRefs(value: unknown): readonly string[] {
	const found = new Set<string>();
	const pending: unknown[] = [value];
	while (pending.length > 0) {
		const next = pending.pop();
		if (typeof next === 'string') {
			if (/^files\/[A-Za-z0-9._/-]+$/.test(next)) found.add(next);
		} else if (typeof next === 'object' && next !== null) for (const item of Object.values(next)) pending.push(item);
	}
	return [...found].sort();
}

/** Files whose bytes are not those of the manifest: a suite that was changed proves nothing. */
export function damagedFiles(suite: Suite): readonly string[] {
	const damaged: string[] = [];
	for (const [name, { sha256 }] of suite.files) {
		const file = path.join(suite.dir, name);
		if (!fs.existsSync(file) || sha256OfFile(file) !== sha256) damaged.push(name);
	}
	return damaged;
}

/** SHA-256 in hex of a whole file. */
export function sha256OfFile(file: string): string {
	return createHash('sha256').update(fs.readFileSync(file)).digest('hex');
}

function groupFiles(dir: string): readonly string[] {
	const out: string[] = [];
	const folders = [dir];
	while (folders.length > 0) {
		const folder = folders.pop() ?? dir;
		for (const entry of fs.readdirSync(folder, { withFileTypes: true })) {
			const full = path.join(folder, entry.name);
			if (entry.isDirectory()) {
				if (full !== path.join(dir, 'files')) folders.push(full);
			} else if (entry.name.endsWith('.json') && full !== path.join(dir, 'manifest.json')) out.push(full);
		}
	}
	return out.sort();
}

function readJson(file: string): unknown {
	let text: string;
	try {
		text = fs.readFileSync(file, 'utf8');
	} catch {
		throw new UsageError(`${file} cannot be read; is this the folder of a suite?`);
	}
	try {
		return JSON.parse(text);
	} catch {
		throw new UsageError(`${file} is no JSON.`);
	}
}
