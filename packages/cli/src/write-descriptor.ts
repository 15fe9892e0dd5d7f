import fs from 'node:fs';

/**
 * Write all of a text to a descriptor, synchronously: nothing is lost when the process ends right after. A pipe that
 * another program made non-blocking answers EAGAIN when it is full: then wait a millisecond and go on.
 *
 * @returns the system's code when it failed (`EPIPE`: the reader has gone), undefined when all was written.
 */
export function writeDescriptor(fd: number, text: string): string | undefined {
	const bytes = Buffer.from(text, 'utf8');
	let done = 0;
	while (done < bytes.byteLength) {
		try {
			done += fs.writeSync(fd, bytes, done);
		} catch (error) {
			const code = error instanceof Error && 'code' in error ? String(error.code) : 'EIO';
			if (code !== 'EAGAIN') return code;
			Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
		}
	}
	return undefined;
}
