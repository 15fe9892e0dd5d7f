import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '../errors.js';
import { createAheadSink } from './ahead-sink.js';
import { assertUnchanged } from './checked-source.js';
import { commitFiles } from './commit-files.js';
import { createFileSink, type FileCalls, type FileSink, type OwnedSink } from './file-sink.js';
import { errnoOf, quotePath, writeError } from './io-error.js';
import { checkTarget, type InputRef, type OutputTarget } from './output-target.js';
import { createTemp, removeTemp } from './temp-files.js';

export interface AtomicWriteOptions {
	/** Replace a target that is there. */
	readonly force?: boolean | undefined;
	/**
	 * What the output is made from. A target that is one of them is refused; sources that changed while they were
	 * read stop the output before it takes anything's place.
	 */
	readonly inputs?: readonly InputRef[] | undefined;
	/** For tests: file calls that fail in chosen ways. */
	readonly calls?: Partial<FileCalls> | undefined;
}

/** One file to be written. */
export interface AtomicOutput {
	readonly target: string;
	/** Puts the bytes. When it throws, nothing is left behind and no target has changed. */
	readonly write: (sink: FileSink) => Promise<void>;
	/** Write on the thread pool, the disk beginning early: for gigabytes. See `createAheadSink`. */
	readonly ahead?: boolean | undefined;
}

/** A written temporary file that waits to be put in place. */
export interface StagedFile {
	readonly target: OutputTarget;
	readonly temp: string;
}

/**
 * Write one file so that at every moment, also after a crash or `kill -9`, its name means the old file whole or the
 * new file whole: a temporary file beside it, synced, renamed, the folder synced. See `writeFilesAtomic`.
 */
export function writeFileAtomic(target: string, write: (sink: FileSink) => Promise<void>, options: AtomicWriteOptions = {}): Promise<void> {
	return writeFilesAtomic([{ target, write }], options);
}

/**
 * Write several files, all or none: all are written and synced under temporary names, then renamed one after the
 * other. When a rename in between fails, those already done are undone (old files come back from a hard link), and
 * the message says so. Only a crash between two renames can leave some new and some old, each of them whole.
 *
 * Without `force` a target that appears meanwhile is not replaced: files are put in place by `link`, which refuses.
 * With `force` the new file takes over the permission bits of the old one.
 *
 * @throws {FormatError} `E_OUTPUT_EXISTS`, `E_OUTPUT_IS_INPUT`, `E_INPUT_CHANGED`, `E_NO_SPACE`, `E_IO`, and whatever `write` throws.
 */
export async function writeFilesAtomic(outputs: readonly AtomicOutput[], options: AtomicWriteOptions = {}): Promise<void> {
	const calls: FileCalls = { ...fs, ...options.calls };
	const force = options.force ?? false;
	const inputs = options.inputs ?? [];
	const targets = outputs.map((output) => checkTarget(output.target, force, inputs));
	checkDistinct(targets);

	const staged: StagedFile[] = [];
	try {
		for (const [i, output] of outputs.entries()) {
			const target = targets[i];
			if (target !== undefined) staged.push(await stage(target, output, calls));
		}
		assertUnchanged(inputs.filter((input) => typeof input !== 'string'));
		await commitFiles(staged, force, calls);
	} catch (error) {
		for (const { temp } of staged) removeTemp(temp, calls);
		throw error;
	}
	for (const folder of new Set(targets.map((target) => path.dirname(target.file)))) syncFolder(folder, calls);
}

/** Write and sync one temporary file; it is gone again when this throws. */
async function stage(target: OutputTarget, output: AtomicOutput, calls: FileCalls): Promise<StagedFile> {
	const { file, fd } = createTemp(target.file, calls);
	let open = true;
	let sink: OwnedSink | undefined;
	try {
		sink = output.ahead === true ? createAheadSink(fd, target.given, calls) : createFileSink(fd, target.given, calls);
		await output.write(sink);
		await sink.settle?.();
		sink.flush();
		await sync(fd, target.given, calls);
		if (target.mode !== undefined) fs.fchmodSync(fd, target.mode);
		open = false;
		calls.closeSync(fd);
		return { target, temp: file };
	} catch (error) {
		// A number that is closed may mean another file a moment later: nothing may still be writing to it.
		await sink?.settle?.().catch(() => {});
		if (open) closeQuietly(fd, calls);
		removeTemp(file, calls);
		// What the callback threw is its own affair (a refusal of the input, or a bug); what the system said is ours.
		throw error instanceof Error && 'syscall' in error ? writeError(error, target.given) : error;
	}
}

/** On the thread pool, so that Ctrl-C is heard while the disk works. */
function sync(fd: number, target: string, calls: FileCalls): Promise<void> {
	return new Promise((resolve, reject) => {
		calls.fsync(fd, (error) => {
			if (error === null || UNSUPPORTED.has(error.code ?? '')) resolve();
			else reject(writeError(error, target));
		});
	});
}

/** Answers that mean "this file system, or this system, has no such thing". */
const UNSUPPORTED: ReadonlySet<string> = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/** Make the rename itself durable. Folders cannot be synced everywhere (Windows, some FUSE): then nothing can be done. */
function syncFolder(folder: string, calls: FileCalls): void {
	let fd: number;
	try {
		fd = calls.openSync(folder, 'r');
	} catch {
		return;
	}
	try {
		calls.fsyncSync(fd);
	} catch (error) {
		if (errnoOf(error) === 'EIO') {
			throw new FormatError('E_IO', `The output is in place, but the disk could not confirm it for the folder ${quotePath(folder)}.`, {
				cause: error,
			});
		}
	} finally {
		closeQuietly(fd, calls);
	}
}

function closeQuietly(fd: number, calls: FileCalls): void {
	try {
		calls.closeSync(fd);
	} catch {
		// Only reached when another error is on its way, or nothing depends on it.
	}
}

function checkDistinct(targets: readonly OutputTarget[]): void {
	const seen = new Set<string>();
	for (const { file, given } of targets) {
		const key = path.resolve(file);
		if (seen.has(key))
			throw new FormatError('E_OUTPUT_EXISTS', `${quotePath(given)} is named for two outputs at once; give each its own name.`);
		seen.add(key);
	}
}
