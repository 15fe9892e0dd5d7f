import fs from 'node:fs';
import { Worker } from 'node:worker_threads';
import { type ByteSource, FormatError, quote } from '@lorakit/format';
import { createNodeSha256, type FileSource, hashSource } from '@lorakit/format/node';

/** What the worker is asked. */
export type HashTask =
	/** The first `size` bytes of an open file. */
	| { readonly kind: 'file'; readonly id: number; readonly fd: number; readonly size: number }
	/** One more piece of a stream; without `bytes` the end of it. */
	| { readonly kind: 'piece'; readonly id: number; readonly stream: number; readonly bytes?: Uint8Array };

/** What it answers. */
export interface HashAnswer {
	readonly id: number;
	/** Empty for a piece that is not the last. */
	readonly sha256?: string;
	readonly error?: string;
}

/** A hash that is fed in order. */
export interface StreamHash {
	/** `bytes` must stay as they are until the promise is settled. */
	update(bytes: Uint8Array): Promise<void>;
	digest(): Promise<string>;
}

/** SHA-256 beside the main work. */
export interface FileHashing {
	/** Of a whole input. Begin it early, await it late. @throws {FormatError} those of reading. */
	source(source: ByteSource): Promise<string>;
	/** Of the first `size` bytes of an open file. */
	descriptor(fd: number, size: number, name: string): Promise<string>;
	/** Of what goes by. @param size bytes that are expected: decides where it is done. Pieces in shared memory are not copied. */
	stream(size: number, name: string): StreamHash;
	/** Stop, whatever is under way. */
	close(): Promise<void>;
}

/** Memory that is not shared goes over in pieces of this size, so that the thread never holds more. */
const COPY_BYTES = 4 * 1024 * 1024;

/** Below this a thread costs more than it saves. */
const WORKER_BYTES = 32 * 1024 * 1024;

/**
 * Hashing on a thread of its own for large files (it takes as long as reading and computing together), one after the
 * other in the order asked; small files and inputs that are no files are hashed here.
 */
export function createHashing(): FileHashing {
	const waiting = new Map<number, { resolve(sha256: string): void; reject(error: unknown): void; readonly name: string }>();
	let worker: Worker | undefined;
	let next = 0;

	function failAll(error: unknown): void {
		for (const { reject } of waiting.values()) reject(error);
		waiting.clear();
	}

	function start(): Worker {
		// The commands are in dist/chunks, the worker in dist.
		const made = new Worker(new URL('../hash-worker.cjs', import.meta.url));
		made.on('message', ({ id, sha256, error }: HashAnswer) => {
			const task = waiting.get(id);
			waiting.delete(id);
			if (sha256 !== undefined) task?.resolve(sha256);
			else task?.reject(new FormatError('E_IO', `${quote(task.name)} cannot be read: ${error ?? 'unknown'}.`));
		});
		made.on('error', failAll);
		made.unref();
		return made;
	}

	function send(name: string, task: (id: number) => HashTask): Promise<string> {
		worker ??= start();
		const id = next++;
		const answer = new Promise<string>((resolve, reject) => waiting.set(id, { resolve, reject, name }));
		// A failure is seen where it is awaited, which may be much later or, after another failure, never.
		answer.catch(() => {});
		worker.ref();
		worker.postMessage(task(id));
		return answer;
	}

	const ask = (fd: number, size: number, name: string): Promise<string> => send(name, (id) => ({ kind: 'file', id, fd, size }));

	return {
		source(source) {
			const answer = isFile(source) && source.size >= WORKER_BYTES ? hashFile(source, ask) : hashSource(source);
			answer.catch(() => {});
			return answer;
		},
		descriptor: async (fd, size, name) => (size >= WORKER_BYTES ? ask(fd, size, name) : hashHere(fd, size, name)),
		stream(size, name) {
			if (size < WORKER_BYTES) return streamHere();
			const stream = next++;
			let scratch: Uint8Array | undefined;
			const feed = (bytes: Uint8Array): Promise<string> => send(name, (id) => ({ kind: 'piece', id, stream, bytes }));
			return {
				async update(bytes) {
					if (bytes.buffer instanceof SharedArrayBuffer) {
						await feed(bytes);
						return;
					}
					scratch ??= new Uint8Array(new SharedArrayBuffer(COPY_BYTES));
					for (let at = 0; at < bytes.byteLength; at += COPY_BYTES) {
						const piece = bytes.subarray(at, at + COPY_BYTES);
						scratch.set(piece);
						await feed(scratch.subarray(0, piece.byteLength));
					}
				},
				digest: () => send(name, (id) => ({ kind: 'piece', id, stream })),
			};
		},
		async close() {
			failAll(new FormatError('E_INTERRUPTED', 'Hashing was stopped.'));
			await worker?.terminate();
		},
	};
}

/** Through a descriptor of its own, so that the source may be closed meanwhile. */
async function hashFile(source: FileSource, ask: (fd: number, size: number, name: string) => Promise<string>): Promise<string> {
	const fd = fs.openSync(source.path, 'r');
	try {
		const { dev, ino } = fs.fstatSync(fd, { bigint: true });
		if (dev !== source.identity.dev || ino !== source.identity.ino) {
			throw new FormatError('E_INPUT_CHANGED', `${quote(source.name)} was replaced while it was read; try again.`);
		}
		return await ask(fd, source.size, source.name);
	} finally {
		fs.closeSync(fd);
	}
}

function streamHere(): StreamHash {
	const hash = createNodeSha256();
	return {
		async update(bytes) {
			hash.update(bytes);
		},
		digest: async () => hash.digestHex(),
	};
}

/** A small file, in one piece. */
function hashHere(fd: number, size: number, name: string): string {
	const bytes = Buffer.allocUnsafeSlow(size);
	let done = 0;
	while (done < size) {
		const got = fs.readSync(fd, bytes, done, size - done, done);
		if (got === 0) throw new FormatError('E_IO', `${quote(name)} ended at byte ${done} of ${size}.`);
		done += got;
	}
	const hash = createNodeSha256();
	hash.update(bytes);
	return hash.digestHex();
}

function isFile(source: ByteSource): source is FileSource {
	return 'identity' in source && 'path' in source;
}
