import { escapeControls, FormatError } from '../errors.js';

/** The `code` of a system error (`ENOENT`, `ENOSPC`), or undefined for anything else. */
export function errnoOf(error: unknown): string | undefined {
	if (typeof error !== 'object' || error === null || !('code' in error)) return undefined;
	return typeof error.code === 'string' ? error.code : undefined;
}

/** A path in double quotes for a message, controls escaped; of a very long one the end, which names the file. */
export function quotePath(path: string): string {
	return `"${escapeControls(path.length > 300 ? `...${path.slice(-297)}` : path)}"`;
}

const WHY_READ: ReadonlyMap<string, string> = new Map([
	['ENOENT', 'there is no such file'],
	['ENOTDIR', 'a part of the path is a file, not a folder'],
	['EACCES', 'there is no permission to read it'],
	['EPERM', 'there is no permission to read it'],
	['ELOOP', 'its symbolic links go in a circle'],
	['ENAMETOOLONG', 'the name is longer than the file system allows'],
	['ERR_INVALID_ARG_VALUE', 'the path holds a NUL character'],
	['EMFILE', 'too many files are open at once'],
	['ENFILE', 'too many files are open on this machine'],
	['EIO', 'the device reports an input/output error'],
	['ESTALE', 'the network file system no longer knows it'],
]);

const WHY_WRITE: ReadonlyMap<string, string> = new Map([
	...WHY_READ,
	['ENOENT', 'its folder does not exist'],
	['EACCES', 'there is no permission to write there'],
	['EPERM', 'there is no permission to write there'],
	['EROFS', 'the file system is read-only'],
	['EISDIR', 'it is a folder'],
	['EBUSY', 'another program is using it'],
	['ETXTBSY', 'it is a running program'],
]);

const FULL: ReadonlyMap<string, string> = new Map([
	['ENOSPC', 'there is no space left on the device'],
	['EDQUOT', 'the disk quota leaves no space'],
	['EFBIG', 'there is no space left under the largest file size that is allowed here (ulimit -f, or the file system)'],
]);

/**
 * A system error met while reading, as the refusal people see: `E_NOT_A_FILE` for a folder, else `E_IO`.
 * Returns errors that are already refusals as they are.
 */
export function readError(error: unknown, path: string): FormatError {
	if (error instanceof FormatError) return error;
	const code = errnoOf(error);
	if (code === 'EISDIR') return new FormatError('E_NOT_A_FILE', `${quotePath(path)} is a folder, not a file.`, { cause: error });
	return new FormatError('E_IO', `${quotePath(path)} cannot be read: ${why(WHY_READ, code, error)}.`, { cause: error });
}

/**
 * A system error met while writing: `E_NO_SPACE` for a full disk, a quota or a size limit, else `E_IO`.
 * The sentence says what became of the target, because the caller writes beside it and renames.
 */
export function writeError(error: unknown, path: string): FormatError {
	if (error instanceof FormatError) return error;
	const code = errnoOf(error);
	const full = code === undefined ? undefined : FULL.get(code);
	if (full !== undefined) {
		return new FormatError('E_NO_SPACE', `${quotePath(path)} could not be written: ${full}; what was there before is unchanged.`, {
			cause: error,
		});
	}
	return new FormatError('E_IO', `${quotePath(path)} cannot be written: ${why(WHY_WRITE, code, error)}.`, { cause: error });
}

function why(table: ReadonlyMap<string, string>, code: string | undefined, error: unknown): string {
	const known = code === undefined ? undefined : table.get(code);
	if (known !== undefined) return known;
	if (code !== undefined) return `the system says ${code}`;
	return escapeControls(error instanceof Error ? error.message : String(error)).replace(/\.$/, '');
}
