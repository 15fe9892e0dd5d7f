import { createHash, type Hash } from 'node:crypto';
import fs from 'node:fs';
import { parentPort } from 'node:worker_threads';
import type { HashAnswer, HashTask } from './hash-files.js';

/** Bytes read at a time. */
const PIECE = 4 * 1024 * 1024;

/** Hashes that are fed piece by piece. */
const streams = new Map<number, Hash>();

/**
 * The worker thread of `hash-files.ts`: SHA-256 of the first bytes of an open file (descriptors belong to the whole
 * process, so the number is all it needs), or of pieces in shared memory.
 */
parentPort?.on('message', (task: HashTask) => {
	parentPort?.postMessage(task.kind === 'file' ? answer(task.id, task.fd, task.size) : feed(task));
});

function feed({ id, stream, bytes }: Extract<HashTask, { kind: 'piece' }>): HashAnswer {
	const hash = streams.get(stream) ?? createHash('sha256');
	if (bytes !== undefined) {
		streams.set(stream, hash.update(bytes));
		return { id, sha256: '' };
	}
	streams.delete(stream);
	return { id, sha256: hash.digest('hex') };
}

function answer(id: number, fd: number, size: number): HashAnswer {
	try {
		const hash = createHash('sha256');
		const buffer = Buffer.allocUnsafeSlow(Math.max(1, Math.min(PIECE, size)));
		for (let at = 0; at < size; ) {
			const got = fs.readSync(fd, buffer, 0, Math.min(buffer.byteLength, size - at), at);
			if (got === 0) return { id, error: `the file ended at byte ${at} of ${size}` };
			hash.update(buffer.subarray(0, got));
			at += got;
		}
		return { id, sha256: hash.digest('hex') };
	} catch (error) {
		return { id, error: error instanceof Error ? error.message : String(error) };
	}
}
