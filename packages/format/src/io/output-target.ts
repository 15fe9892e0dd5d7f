import fs from 'node:fs';
import path from 'node:path';
import type { ByteSource } from '../byte-source.js';
import { FormatError } from '../errors.js';
import { type FileIdentity, type FileSource, kindOf } from './file-source.js';
import { quotePath, writeError } from './io-error.js';

/** A target that may be written, links resolved. */
export interface OutputTarget {
	/** As the caller spelled it. */
	readonly given: string;
	/** The real file: what a symbolic link points to, so that the link stays and its file is replaced. */
	readonly file: string;
	/** Permission bits of the file that is there; undefined when nothing is. */
	readonly mode: number | undefined;
}

/** An input of the conversion, as a path or as the source it is read from. */
export type InputRef = string | ByteSource;

/**
 * Decide whether `target` may be written, before any work is done.
 *
 * - A symbolic link is written through: its file is replaced, beside itself, and the link stays. A link to nothing
 *   is refused (it could make a file where nobody looks).
 * - The same file as an input, by path, hard link or symbolic link, is refused even with `force`.
 *
 * @throws {FormatError} `E_OUTPUT_IS_INPUT`, `E_OUTPUT_EXISTS`, `E_IO` (folder or device as target, no such folder).
 */
export function checkTarget(target: string, force: boolean, inputs: readonly InputRef[]): OutputTarget {
	if (target === '') throw new FormatError('E_IO', 'The output has an empty name; give a file name.');
	try {
		return inspect(target, force, inputs);
	} catch (error) {
		throw writeError(error, target);
	}
}

function inspect(target: string, force: boolean, inputs: readonly InputRef[]): OutputTarget {
	const entry = fs.lstatSync(target, { throwIfNoEntry: false });
	if (entry === undefined) {
		checkParent(target);
		if (/[/\\]$/.test(target)) throw new FormatError('E_IO', `${quotePath(target)} names a folder; the output must be a file.`);
		return { given: target, file: target, mode: undefined };
	}
	const stat = fs.statSync(target, { bigint: true, throwIfNoEntry: false });
	if (stat === undefined) {
		throw new FormatError(
			'E_IO',
			`${quotePath(target)} is a symbolic link to ${quotePath(fs.readlinkSync(target))}, which does not exist; remove the link or name another output.`,
		);
	}
	const kind = kindOf(stat);
	if (kind !== undefined) throw new FormatError('E_IO', `${quotePath(target)} is ${kind}; the output must be a file.`);
	if (inputs.some((input) => isSameFile(input, stat))) {
		throw new FormatError('E_OUTPUT_IS_INPUT', `${quotePath(target)} is the same file as an input; name another output.`);
	}
	if (!force) throw existsError(target);
	return { given: target, file: entry.isSymbolicLink() ? fs.realpathSync(target) : target, mode: Number(stat.mode) & 0o777 };
}

/** The refusal for a target that is there. */
export function existsError(target: string, cause?: unknown): FormatError {
	return new FormatError('E_OUTPUT_EXISTS', `${quotePath(target)} exists already; use --force to replace it or name another output.`, {
		cause,
	});
}

function checkParent(target: string): void {
	const folder = path.dirname(target);
	const stat = fs.statSync(folder, { throwIfNoEntry: false });
	if (stat === undefined) {
		throw new FormatError('E_IO', `${quotePath(target)} cannot be written: the folder ${quotePath(folder)} does not exist.`);
	}
	if (!stat.isDirectory()) {
		throw new FormatError('E_IO', `${quotePath(target)} cannot be written: ${quotePath(folder)} is not a folder.`);
	}
}

function isSameFile(input: InputRef, stat: FileIdentity): boolean {
	if (typeof input === 'string') {
		const other = fs.statSync(input, { bigint: true, throwIfNoEntry: false });
		return other !== undefined && other.ino === stat.ino && other.dev === stat.dev;
	}
	return hasIdentity(input) && input.identity.ino === stat.ino && input.identity.dev === stat.dev;
}

function hasIdentity(source: ByteSource): source is FileSource {
	return 'identity' in source;
}
