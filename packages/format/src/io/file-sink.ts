import type nodeFs from 'node:fs';
import { writeError } from './io-error.js';
import { WRITE_BUFFER_BYTES, WRITE_PIECE_BYTES } from './io-limits.js';
import { createYield } from './yield-to-loop.js';

/** The file calls that writing uses; tests put failing ones in their place. */
export type FileCalls = Pick<
	typeof nodeFs,
	'openSync' | 'write' | 'writeSync' | 'closeSync' | 'linkSync' | 'renameSync' | 'unlinkSync' | 'fdatasync' | 'fsync' | 'fsyncSync'
>;

/** Where a writer puts its bytes, in order. Nothing of it is the output yet: that comes with the rename. */
export interface FileSink {
	/** Bytes written so far. */
	readonly position: number;
	/** The descriptor, for whoever reads along while the file is written (hashing). */
	readonly fd: number;
	/** Append. The caller may change `bytes` once the promise is settled. @throws {FormatError} `E_NO_SPACE`, `E_IO`. */
	write(bytes: Uint8Array): Promise<void>;
	/** Overwrite bytes already written (a header that had to wait for sizes or checksums). */
	patch(offset: number, bytes: Uint8Array): Promise<void>;
}

/** A sink with what its owner needs at the end. */
export interface OwnedSink extends FileSink {
	flush(): void;
	/** Where writes go on in the background: wait for all of them. The descriptor must not be closed before. */
	settle?(): Promise<void>;
}

/**
 * A sink over a descriptor. Writes below a quarter of `WRITE_BUFFER_BYTES` are gathered, larger ones go straight
 * through. Every write is a loop: the kernel may take less than it was given, and on a full disk it first does.
 * (write-file-atomic and atomically ignore that count and leave a cut file: measured in the project's notes.)
 *
 * @param target what to name in errors
 */
export function createFileSink(fd: number, target: string, calls: FileCalls): OwnedSink {
	const pause = createYield();
	let buffer: Uint8Array | undefined;
	let pending = 0;
	let flushed = 0;

	function writeAll(bytes: Uint8Array, position: number): void {
		let done = 0;
		while (done < bytes.byteLength) {
			const wanted = Math.min(bytes.byteLength - done, WRITE_PIECE_BYTES);
			let wrote: number;
			try {
				wrote = calls.writeSync(fd, bytes, done, wanted, position + done);
			} catch (error) {
				throw writeError(error, target);
			}
			if (wrote <= 0) throw writeError(Object.assign(new Error('wrote nothing'), { code: 'ENOSPC' }), target);
			done += wrote;
		}
	}

	function flush(): void {
		if (buffer === undefined || pending === 0) return;
		writeAll(buffer.subarray(0, pending), flushed);
		flushed += pending;
		pending = 0;
	}

	return {
		fd,
		get position() {
			return flushed + pending;
		},
		async write(bytes) {
			if (bytes.byteLength >= WRITE_BUFFER_BYTES / 4) {
				flush();
				writeAll(bytes, flushed);
				flushed += bytes.byteLength;
			} else {
				buffer ??= new Uint8Array(WRITE_BUFFER_BYTES);
				if (pending + bytes.byteLength > buffer.byteLength) flush();
				buffer.set(bytes, pending);
				pending += bytes.byteLength;
			}
			await pause();
		},
		async patch(offset, bytes) {
			if (offset < 0 || offset + bytes.byteLength > flushed + pending) {
				throw new TypeError(`patch of bytes ${offset} to ${offset + bytes.byteLength} of ${flushed + pending} written`);
			}
			flush();
			writeAll(bytes, offset);
		},
		flush,
	};
}
