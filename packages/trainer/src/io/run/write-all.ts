import fs from 'node:fs';

/** Bytes to the end of an open file: the kernel may take less than it was given. */
export function writeAll(fd: number, bytes: Uint8Array): void {
	for (let done = 0; done < bytes.byteLength; ) done += fs.writeSync(fd, bytes, done);
}
