import fs from 'node:fs';
import { checkRange, shortRead } from '../byte-source.js';
import { escapeControls, FormatError } from '../errors.js';
import type { InstantSource } from '../range-reads.js';
import type { CheckedSource } from './checked-source.js';
import { errnoOf, quotePath, readError } from './io-error.js';
import { MAX_READ_BYTES, MAX_SYSCALL_BYTES } from './io-limits.js';
import { createYield } from './yield-to-loop.js';

/** A regular file, read by ranges. */
export interface FileSource extends CheckedSource, InstantSource {
	/** The path that was opened, as given. */
	readonly path: string;
	/** Device and inode, for telling one file from another whatever its names. */
	readonly identity: FileIdentity;
	/** Fill `target` from `offset`, without allocating. @throws {FormatError} as `read`. */
	readInto(offset: number, target: Uint8Array): Promise<void>;
	/** As `readInto`, on the thread pool: the caller's own work goes on meanwhile. `target` is not to be touched before the promise is settled. */
	readAhead(offset: number, target: Uint8Array): Promise<void>;
	/** True when the file was written to, cut, or replaced by another since it was opened. */
	changed(): boolean;
}

/** What makes two paths the same file. */
export interface FileIdentity {
	readonly dev: bigint;
	readonly ino: bigint;
}

export interface FileSourceOptions {
	/** What to call it in messages; default: the path. */
	readonly name?: string | undefined;
}

/** `statfs` types of file systems whose "files" are made by the kernel while they are read (linux/magic.h). */
const KERNEL_FILE_SYSTEMS: ReadonlySet<number> = new Set([
	0x9fa0, // proc
	0x62656572, // sysfs
	0x64626720, // debugfs
]);

/**
 * Open a regular file. The kind is looked at before opening, because opening a FIFO waits for a writer and opening
 * some devices does something; and again after, because the name may have come to mean something else.
 *
 * Reads are synchronous calls in async functions: for ranges that is faster than the thread pool, and signals get
 * their turn every few pieces. An empty file is opened: that it is empty is for the container reader to say.
 *
 * @throws {FormatError} `E_NOT_A_FILE` for a folder, FIFO, socket, device or kernel file; `E_IO` for one that is
 * missing, unreadable or a circle of links. `read` throws `E_TRUNCATED` when the file has become shorter.
 */
export async function openFileSource(path: string, options: FileSourceOptions = {}): Promise<FileSource> {
	try {
		checkKind(fs.statSync(path, { bigint: true }), path);
	} catch (error) {
		throw missingTarget(error, path) ?? readError(error, path);
	}
	let fd: number;
	try {
		const { O_RDONLY, O_NONBLOCK = 0, O_NOCTTY = 0 } = fs.constants;
		fd = fs.openSync(path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
	} catch (error) {
		throw readError(error, path);
	}
	try {
		return descriptorSource(fd, path, options.name ?? path);
	} catch (error) {
		fs.closeSync(fd);
		throw readError(error, path);
	}
}

/** A source over an open descriptor of a regular file; it owns the descriptor. @throws {FormatError} `E_NOT_A_FILE`. */
export function descriptorSource(fd: number, path: string, label: string): FileSource {
	const opened = fs.fstatSync(fd, { bigint: true });
	checkKind(opened, path);
	const name = escapeControls(label);
	const size = Number(opened.size);
	const pause = createYield();
	let open = true;

	function fill(offset: number, target: Uint8Array): void {
		if (!open) throw new TypeError(`${name} was read after it was closed`);
		let done = 0;
		while (done < target.byteLength) {
			let got: number;
			try {
				got = fs.readSync(fd, target, done, Math.min(target.byteLength - done, MAX_SYSCALL_BYTES), offset + done);
			} catch (error) {
				throw readError(error, path);
			}
			if (got === 0) throw shortRead(name, offset, target.byteLength, done);
			done += got;
		}
	}

	function readOnce(target: Uint8Array, from: number, at: number): Promise<number> {
		return new Promise((resolve, reject) => {
			fs.read(fd, target, from, Math.min(target.byteLength - from, MAX_SYSCALL_BYTES), at, (error, got) => {
				if (error === null) resolve(got);
				else reject(readError(error, path));
			});
		});
	}

	function changed(): boolean {
		const now = fs.fstatSync(fd, { bigint: true });
		if (now.size !== opened.size || now.mtimeNs !== opened.mtimeNs) return true;
		if (path === '') return false;
		// A name that is gone leaves the open file whole; a name that means another file does not mean what we read.
		const named = fs.statSync(path, { bigint: true, throwIfNoEntry: false });
		return named !== undefined && (named.ino !== opened.ino || named.dev !== opened.dev);
	}

	return {
		name,
		size,
		remote: false,
		path,
		identity: { dev: opened.dev, ino: opened.ino },
		async read(offset, length) {
			checkRange(name, size, offset, length);
			if (length > MAX_READ_BYTES) {
				throw new FormatError('E_LIMIT', `${name}: ${length} bytes were asked for in one piece; the limit is ${MAX_READ_BYTES}.`);
			}
			const bytes = uninitialized(length);
			fill(offset, bytes);
			await pause();
			return bytes;
		},
		async readInto(offset, target) {
			checkRange(name, size, offset, target.byteLength);
			fill(offset, target);
			await pause();
		},
		fillNow(offset, target) {
			checkRange(name, size, offset, target.byteLength);
			fill(offset, target);
		},
		async readAhead(offset, target) {
			checkRange(name, size, offset, target.byteLength);
			if (!open) throw new TypeError(`${name} was read after it was closed`);
			for (let done = 0; done < target.byteLength; ) {
				const got = await readOnce(target, done, offset + done);
				if (got === 0) throw shortRead(name, offset, target.byteLength, done);
				done += got;
			}
		},
		changed,
		assertUnchanged() {
			if (!changed()) return;
			throw new FormatError('E_INPUT_CHANGED', `${name} was changed or replaced while it was read, so nothing was written; try again.`);
		},
		async close() {
			if (!open) return;
			open = false;
			fs.closeSync(fd);
		},
	};
}

/** Bytes that are about to be overwritten: zeroing them first costs as much as reading them. Never a shared pool. */
function uninitialized(length: number): Uint8Array {
	if (length < 4096) return new Uint8Array(length);
	return new Uint8Array(Buffer.allocUnsafeSlow(length).buffer, 0, length);
}

/** @throws {FormatError} `E_NOT_A_FILE` unless `stat` is of a regular file with bytes of its own. */
function checkKind(stat: fs.BigIntStats, path: string): void {
	const kind = kindOf(stat);
	if (kind !== undefined) {
		const hint = kind === 'a folder' ? '; give the file in it' : '';
		throw new FormatError('E_NOT_A_FILE', `${quotePath(path)} is ${kind}, not a file${hint}.`);
	}
	// Kernel files call themselves regular and 0 (proc) or 4096 (sysfs) bytes long.
	if (path !== '' && (stat.size === 0n || stat.size === 4096n) && isKernelFile(path)) {
		throw new FormatError('E_NOT_A_FILE', `${quotePath(path)} is a view into the kernel, not a file.`);
	}
}

function isKernelFile(path: string): boolean {
	try {
		return process.platform === 'linux' && KERNEL_FILE_SYSTEMS.has(fs.statfsSync(path).type);
	} catch {
		return false;
	}
}

/** What a path is when it is no regular file, in words with the article; undefined for a regular file. */
export function kindOf(stat: fs.BigIntStats | fs.Stats): string | undefined {
	if (stat.isFile()) return undefined;
	if (stat.isDirectory()) return 'a folder';
	if (stat.isFIFO()) return 'a named pipe';
	if (stat.isSocket()) return 'a socket';
	if (stat.isCharacterDevice() || stat.isBlockDevice()) return 'a device';
	return 'something else';
}

/** A link whose target is gone: say so, "no such file" would puzzle whoever sees the link. */
function missingTarget(error: unknown, path: string): FormatError | undefined {
	if (errnoOf(error) !== 'ENOENT') return undefined;
	try {
		if (!fs.lstatSync(path).isSymbolicLink()) return undefined;
		return new FormatError('E_IO', `${quotePath(path)} is a symbolic link to ${quotePath(fs.readlinkSync(path))}, which does not exist.`, {
			cause: error,
		});
	} catch {
		return undefined;
	}
}
