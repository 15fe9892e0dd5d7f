import { FormatError } from '../errors.js';
import type { FileCalls, OwnedSink } from './file-sink.js';
import { errnoOf, writeError } from './io-error.js';
import { WRITE_PIECE_BYTES, WRITEBACK_BYTES } from './io-limits.js';

/** A sink whose writes go on while the caller does something else. */
export interface AheadSink extends OwnedSink {
	readonly fd: number;
	/** Every byte before this one is in the file (not yet on the disk). */
	readonly written: number;
	/** Wait for everything under way. @throws {FormatError} what failed first. */
	settle(): Promise<void>;
}

/** Answers that mean "this file system has no such thing". */
const UNSUPPORTED: ReadonlySet<string> = new Set(['EINVAL', 'ENOTSUP', 'EOPNOTSUPP', 'ENOSYS']);

/**
 * A sink on the thread pool, for gigabytes: `write` takes its place in the file at once and the caller may begin the
 * next piece before the promise is settled (but must leave `bytes` alone until then). Pieces are written one after the
 * other: threads that write one file only wait for its lock. Every `WRITEBACK_BYTES` the disk
 * is told to begin (fdatasync in the background), so that it works while the rest is still being computed: the kernel
 * alone begins much later, and the final sync would then wait for nearly everything.
 *
 * @param target what to name in errors
 */
export function createAheadSink(fd: number, target: string, calls: FileCalls): AheadSink {
	const pending = new Set<Promise<void>>();
	let position = 0;
	let written = 0;
	let unsynced = 0;
	let syncing = false;
	let failure: FormatError | undefined;
	/** The last write asked for. */
	let last: Promise<void> = Promise.resolve();

	function track(work: Promise<void>): Promise<void> {
		const quiet = work.catch((error: unknown) => {
			failure ??= error instanceof FormatError ? error : writeError(error, target);
		});
		pending.add(quiet);
		void quiet.then(() => pending.delete(quiet));
		return work;
	}

	async function put(bytes: Uint8Array, at: number): Promise<void> {
		for (let done = 0; done < bytes.byteLength; ) {
			const wrote = await writeOnce(bytes, done, at + done);
			if (wrote <= 0) throw writeError(Object.assign(new Error('wrote nothing'), { code: 'ENOSPC' }), target);
			done += wrote;
		}
	}

	function writeOnce(bytes: Uint8Array, from: number, at: number): Promise<number> {
		return new Promise((resolve, reject) => {
			calls.write(fd, bytes, from, Math.min(bytes.byteLength - from, WRITE_PIECE_BYTES), at, (error, wrote) => {
				if (error === null) resolve(wrote);
				else reject(writeError(error, target));
			});
		});
	}

	function beginWriteback(): void {
		if (syncing || unsynced < WRITEBACK_BYTES) return;
		syncing = true;
		unsynced = 0;
		const work = new Promise<void>((resolve, reject) => {
			calls.fdatasync(fd, (error) => {
				syncing = false;
				if (error === null || UNSUPPORTED.has(errnoOf(error) ?? '')) resolve();
				else reject(writeError(error, target));
			});
		});
		track(work).catch(() => {});
	}

	return {
		fd,
		get position() {
			return position;
		},
		get written() {
			return written;
		},
		async write(bytes) {
			if (failure !== undefined) throw failure;
			const at = position;
			position += bytes.byteLength;
			// After a failure nothing more is written: the promise of the one before is rejected.
			last = track(last.then(() => put(bytes, at)));
			await last;
			written = at + bytes.byteLength;
			unsynced += bytes.byteLength;
			beginWriteback();
		},
		async patch(offset, bytes) {
			if (offset < 0 || offset + bytes.byteLength > position) {
				throw new TypeError(`patch of bytes ${offset} to ${offset + bytes.byteLength} of ${position} written`);
			}
			await Promise.all(pending);
			if (failure !== undefined) throw failure;
			await track(put(bytes, offset));
		},
		flush() {},
		async settle() {
			while (pending.size > 0) await Promise.all(pending);
			if (failure !== undefined) throw failure;
		},
	};
}
