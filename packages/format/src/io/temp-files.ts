import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '../errors.js';
import type { FileCalls } from './file-sink.js';
import { errnoOf, quotePath, writeError } from './io-error.js';

/** Longest file name of the common file systems, in bytes. */
const MAX_NAME_BYTES = 255;

/** Temporary files of this process that are not yet renamed or removed. */
const live = new Set<string>();
/** Temporary folders, which are removed with everything in them. */
const liveFolders = new Set<string>();
let hooked = false;

/**
 * Remove every temporary file this process has made and not yet put in place. Synchronous, for signal handlers;
 * also runs when the process exits. After `kill -9` a `.NAME.*.tmp` may stay; its name is random, so it hinders nobody.
 */
export function cleanupTempFiles(): void {
	for (const file of live) {
		try {
			fs.unlinkSync(file);
		} catch {
			// Gone already, or not ours to remove any more: nothing better can be done while dying.
		}
	}
	live.clear();
	for (const folder of liveFolders) removeTree(folder);
	liveFolders.clear();
}

/** A new, empty temporary file beside `target`, open for reading and writing. @throws {FormatError} `E_IO`, `E_NO_SPACE`. */
export function createTemp(target: string, calls: FileCalls): { readonly file: string; readonly fd: number } {
	hook();
	for (let attempt = 0; attempt < 100; attempt++) {
		const file = besideName(target, 'tmp');
		try {
			const fd = calls.openSync(file, 'wx+', 0o666);
			live.add(file);
			return { file, fd };
		} catch (error) {
			if (errnoOf(error) !== 'EEXIST') throw writeError(error, target);
		}
	}
	throw new FormatError('E_IO', `${quotePath(target)} cannot be written: no free name for a temporary file was found beside it.`);
}

/** A new, empty temporary folder beside `target`. @throws {FormatError} `E_IO`, `E_NO_SPACE`. */
export function createTempFolder(target: string): string {
	hook();
	for (let attempt = 0; attempt < 100; attempt++) {
		const folder = besideName(target, 'tmp');
		try {
			fs.mkdirSync(folder);
			liveFolders.add(folder);
			return folder;
		} catch (error) {
			if (errnoOf(error) !== 'EEXIST') throw writeError(error, target);
		}
	}
	throw new FormatError('E_IO', `${quotePath(target)} cannot be written: no free name for a temporary folder was found beside it.`);
}

/** Remove a temporary folder and what is in it. */
export function removeTempFolder(folder: string): void {
	removeTree(folder);
	liveFolders.delete(folder);
}

/** The file or folder is in place, or removed: forget it. */
export function forgetTemp(file: string): void {
	live.delete(file);
	liveFolders.delete(file);
}

function removeTree(folder: string): void {
	try {
		fs.rmSync(folder, { recursive: true, force: true });
	} catch {
		// As with files: nothing better can be done.
	}
}

function hook(): void {
	if (hooked) return;
	hooked = true;
	process.once('exit', cleanupTempFiles);
}

/** Remove a temporary file, whatever happened to it. */
export function removeTemp(file: string, calls: FileCalls): void {
	try {
		calls.unlinkSync(file);
	} catch {
		// The reason why we are here is the error that counts.
	}
	live.delete(file);
}

/** `.NAME.<random>.EXTENSION` in the folder of `target`, with NAME cut so that the whole fits a directory entry. */
export function besideName(target: string, extension: string): string {
	const random = Math.random().toString(36).slice(2, 10).padEnd(8, '0') + process.pid.toString(36);
	const tail = `.${random}.${extension}`;
	let name = path.basename(target);
	while (Buffer.byteLength(name) > MAX_NAME_BYTES - 1 - tail.length) name = [...name].slice(0, -1).join('');
	return path.join(path.dirname(target), `.${name}${tail}`);
}
