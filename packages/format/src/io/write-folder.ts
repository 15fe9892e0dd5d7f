import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '../errors.js';
import { type AheadSink, createAheadSink } from './ahead-sink.js';
import type { FileSink } from './file-sink.js';
import type { FolderTarget } from './folder-target.js';
import { errnoOf, quotePath, readError, writeError } from './io-error.js';
import { besideName, createTempFolder, forgetTemp, removeTempFolder } from './temp-files.js';

/** One file of a folder that is being written. */
export interface FolderFile {
	/** Relative to the folder, with `/`. */
	readonly path: string;
	/** Copied byte for byte from here... */
	readonly from?: string | undefined;
	/** ...or written. Sinks stay open until the last file is written, so that headers can still be patched. */
	readonly write?: ((sink: FileSink) => Promise<void>) | undefined;
}

export interface WriteFolderOptions {
	/** After the last file, while all sinks are still open. */
	readonly finish?: (() => Promise<void>) | undefined;
	/** Last look before anything takes its place: throw to stop. */
	readonly check?: (() => Promise<void> | void) | undefined;
}

/**
 * Write a folder so that its name means the old folder whole or the new folder whole: everything is written and
 * synced under a temporary name beside it and renamed as a whole. An old folder is moved aside first and removed
 * last; between these two renames, which follow each other at once, a crash leaves it under its `.NAME.*.old` name.
 *
 * @throws {FormatError} `E_NO_SPACE`, `E_IO`, `E_INPUT_CHANGED` for a file that changed while it was copied, and what
 * `write` and `check` throw; nothing is left behind then.
 */
export async function writeFolder(target: FolderTarget, files: readonly FolderFile[], options: WriteFolderOptions = {}): Promise<void> {
	const temp = createTempFolder(target.folder);
	const open: AheadSink[] = [];
	try {
		const folders = new Set<string>([temp]);
		for (const file of files) {
			const place = path.join(temp, ...file.path.split('/'));
			for (let folder = path.dirname(place); folder.length > temp.length; folder = path.dirname(folder)) folders.add(folder);
			fs.mkdirSync(path.dirname(place), { recursive: true });
			if (file.from !== undefined) await copyFile(file.from, place, path.join(target.given, file.path));
			if (file.write === undefined) continue;
			const sink = createAheadSink(fs.openSync(place, 'wx+', 0o666), path.join(target.given, file.path), fs);
			open.push(sink);
			await file.write(sink);
		}
		await options.finish?.();
		for (let sink = open.shift(); sink !== undefined; sink = open.shift()) await finish(sink);
		// The deepest first, so that no name is durable before what it names.
		for (const folder of [...folders].sort((a, b) => b.length - a.length)) syncFolder(folder);
		await options.check?.();
		swap(temp, target);
		syncFolder(path.dirname(target.folder));
	} catch (error) {
		for (const sink of open) {
			await sink.settle().catch(() => {});
			fs.closeSync(sink.fd);
		}
		removeTempFolder(temp);
		throw error instanceof Error && 'syscall' in error ? writeError(error, target.given) : error;
	}
}

async function finish(sink: AheadSink): Promise<void> {
	try {
		await sink.settle();
		await syncFile(sink.fd);
	} finally {
		await sink.settle().catch(() => {});
		fs.closeSync(sink.fd);
	}
}

/** A file that was written to meanwhile is refused. */
async function copyFile(from: string, to: string, given: string): Promise<void> {
	let before: fs.BigIntStats;
	try {
		before = fs.statSync(from, { bigint: true });
		fs.accessSync(from, fs.constants.R_OK);
	} catch (error) {
		throw readError(error, from);
	}
	try {
		// A clone where the file system can share blocks; else the kernel copies.
		await fs.promises.copyFile(from, to, fs.constants.COPYFILE_EXCL | fs.constants.COPYFILE_FICLONE);
		fs.chmodSync(to, 0o666 & ~process.umask());
		const fd = fs.openSync(to, 'r+');
		try {
			await syncFile(fd);
		} finally {
			fs.closeSync(fd);
		}
	} catch (error) {
		throw writeError(error, given);
	}
	const after = fs.statSync(from, { bigint: true, throwIfNoEntry: false });
	if (after === undefined || after.size !== before.size || after.mtimeNs !== before.mtimeNs || after.ino !== before.ino) {
		throw new FormatError(
			'E_INPUT_CHANGED',
			`${quotePath(from)} was changed or replaced while it was copied, so nothing was written; try again.`,
		);
	}
}

function syncFile(fd: number): Promise<void> {
	return new Promise((resolve, reject) => {
		fs.fsync(fd, (error) => {
			if (error === null || ['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS'].includes(errnoOf(error) ?? '')) resolve();
			else reject(error);
		});
	});
}

function syncFolder(folder: string): void {
	try {
		const fd = fs.openSync(folder, 'r');
		try {
			fs.fsyncSync(fd);
		} finally {
			fs.closeSync(fd);
		}
	} catch (error) {
		// Folders cannot be synced everywhere.
		if (errnoOf(error) === 'EIO' || errnoOf(error) === 'ENOSPC') throw error;
	}
}

/** No turn of the event loop in here, so no signal handler sees half of it. */
function swap(temp: string, target: FolderTarget): void {
	const there = fs.lstatSync(target.folder, { throwIfNoEntry: false });
	if (there === undefined) {
		fs.renameSync(temp, target.folder);
		forgetTemp(temp);
		return;
	}
	// It came while we worked: not ours to replace.
	if (!target.exists)
		throw new FormatError('E_OUTPUT_EXISTS', `${quotePath(target.given)} was made by somebody else meanwhile; use --force to replace it.`);
	const aside = besideName(target.folder, 'old');
	fs.chmodSync(temp, Number(there.mode) & 0o777);
	fs.renameSync(target.folder, aside);
	try {
		fs.renameSync(temp, target.folder);
	} catch (error) {
		fs.renameSync(aside, target.folder);
		throw error;
	}
	forgetTemp(temp);
	try {
		fs.rmSync(aside, { recursive: true, force: true });
	} catch {
		// The new folder is in place, which is what was asked.
	}
}
