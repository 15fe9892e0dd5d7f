import fs from 'node:fs';
import { FormatError } from '../errors.js';
import type { StagedFile } from './atomic-write.js';
import type { FileCalls } from './file-sink.js';
import { errnoOf, quotePath, writeError } from './io-error.js';
import { existsError } from './output-target.js';
import { besideName, forgetTemp, removeTemp } from './temp-files.js';

/** A file that was put in place, and where its predecessor is kept. */
interface Committed {
	readonly file: StagedFile;
	/** Hard link to the old file; undefined when there was none, or when it could not be kept. */
	readonly backup: string | undefined;
	readonly hadOld: boolean;
}

/**
 * Put staged files in place, one after the other; on an error undo those already there.
 * On Linux and macOS no turn of the event loop lies in between, so no signal handler sees half of it.
 *
 * @throws {FormatError} `E_OUTPUT_EXISTS`, `E_IO`, `E_NO_SPACE`; the sentence ends with what was undone.
 */
export async function commitFiles(files: readonly StagedFile[], force: boolean, calls: FileCalls): Promise<void> {
	const done: Committed[] = [];
	for (const file of files) {
		const { hadOld, backup } = force && files.length > 1 ? keepOld(file, calls) : { hadOld: false, backup: undefined };
		try {
			if (force) await rename(file, calls);
			else linkInPlace(file, calls);
		} catch (error) {
			if (backup !== undefined) removeTemp(backup, calls);
			const cause = writeError(error, file.target.given);
			throw done.length === 0 ? cause : new FormatError(cause.code, `${cause.message} ${undo(done, calls)}`, { cause });
		}
		forgetTemp(file.temp);
		done.push({ file, hadOld, backup });
	}
	for (const { backup } of done) if (backup !== undefined) removeTemp(backup, calls);
}

/** `link` refuses an existing name, in one step, where a check before `rename` would leave a gap for a second writer. */
function linkInPlace({ temp, target }: StagedFile, calls: FileCalls): void {
	try {
		calls.linkSync(temp, target.file);
	} catch (error) {
		if (errnoOf(error) === 'EEXIST') throw existsError(target.given, error);
		if (errnoOf(error) === 'ENOSPC' || errnoOf(error) === 'EDQUOT') throw error;
		// FAT, some network and FUSE file systems have no hard links: look again, then rename.
		if (fs.lstatSync(target.file, { throwIfNoEntry: false }) !== undefined) throw existsError(target.given);
		calls.renameSync(temp, target.file);
		return;
	}
	removeTemp(temp, calls);
}

/** Windows refuses to replace a file that a virus scanner or a viewer has open: try a few times. */
async function rename({ temp, target }: StagedFile, calls: FileCalls): Promise<void> {
	for (let attempt = 0; ; attempt++) {
		try {
			calls.renameSync(temp, target.file);
			return;
		} catch (error) {
			const busy = ['EPERM', 'EACCES', 'EBUSY'].includes(errnoOf(error) ?? '');
			if (process.platform !== 'win32' || !busy || attempt >= 6) throw error;
			await new Promise((resolve) => setTimeout(resolve, 20 * 2 ** attempt));
		}
	}
}

function keepOld({ target }: StagedFile, calls: FileCalls): { hadOld: boolean; backup: string | undefined } {
	if (fs.lstatSync(target.file, { throwIfNoEntry: false }) === undefined) return { hadOld: false, backup: undefined };
	const backup = besideName(target.file, 'bak');
	try {
		calls.linkSync(target.file, backup);
		return { hadOld: true, backup };
	} catch {
		return { hadOld: true, backup: undefined };
	}
}

/** Take committed files back; returns one sentence that says how it went. */
function undo(done: readonly Committed[], calls: FileCalls): string {
	const stuck: string[] = [];
	for (const { file, hadOld, backup } of [...done].reverse()) {
		try {
			if (backup !== undefined) calls.renameSync(backup, file.target.file);
			else if (!hadOld) calls.unlinkSync(file.target.file);
			else stuck.push(file.target.given);
		} catch {
			stuck.push(file.target.given);
		}
	}
	if (stuck.length === 0) return 'The other outputs were put back as they were.';
	return `The new content stays in ${stuck.map(quotePath).join(', ')}, because it could not be put back.`;
}
