import fs from 'node:fs';
import path from 'node:path';
import { FormatError } from '../errors.js';
import { COPY_CHUNK_BYTES } from '../limits.js';
import { createFileSink, type FileSink } from './file-sink.js';
import { readError, writeError } from './io-error.js';
import { createTemp, removeTemp } from './temp-files.js';

/**
 * Write an output to standard output: whole or not at all. It is made in a temporary file first (writers go back to
 * patch headers, and a refusal in the middle must not leave half a file in the pipe), then copied.
 *
 * @throws {FormatError} `E_USAGE` at a terminal; `E_NO_SPACE`; `E_IO`, with the system error as `cause`: when its code
 * is `EPIPE` the reader has gone and there is nobody to tell.
 */
export async function writeStdout(write: (sink: FileSink) => Promise<void>): Promise<void> {
	if (process.stdout.isTTY) throw new FormatError('E_USAGE', 'Standard output is a terminal; redirect it to a file or a pipe.');
	const { tmpdir } = process.getBuiltinModule('node:os');
	const { file, fd } = createTemp(path.join(tmpdir(), 'lorakit-stdout'), fs);
	try {
		// Nameless from here on: it goes away with the process, however that ends. Windows cannot; there it goes at the end.
		if (process.platform !== 'win32') removeTemp(file, fs);
		const sink = createFileSink(fd, 'standard output', fs);
		await write(sink);
		sink.flush();
		for (let offset = 0; offset < sink.position; ) {
			const chunk = new Uint8Array(Math.min(COPY_CHUNK_BYTES, sink.position - offset));
			const got = fs.readSync(fd, chunk, 0, chunk.byteLength, offset);
			if (got === 0) throw new FormatError('E_IO', 'The temporary file for standard output became shorter.');
			await send(chunk.subarray(0, got));
			offset += got;
		}
	} catch (error) {
		throw error instanceof Error && 'syscall' in error ? readError(error, 'standard output') : error;
	} finally {
		fs.closeSync(fd);
		removeTemp(file, fs);
	}
}

function send(bytes: Uint8Array): Promise<void> {
	return new Promise((resolve, reject) => {
		const onError = (error: Error) => reject(writeError(error, 'standard output'));
		process.stdout.once('error', onError);
		process.stdout.write(bytes, (error) => {
			if (error) return onError(error);
			process.stdout.off('error', onError);
			resolve();
		});
	});
}
