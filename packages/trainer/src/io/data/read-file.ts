import fs from 'node:fs/promises';
import { FormatError, quote } from '@lorakit/format';
import { readError } from '@lorakit/format/node';

/**
 * All bytes of a file of at most `limit` bytes; more is refused before anything is read.
 * @param name for messages
 * @throws {FormatError} `E_LIMIT`, `E_IO`, `E_NOT_A_FILE`
 */
export async function readWholeFile(path: string, name: string, limit: number): Promise<Uint8Array> {
	let handle: fs.FileHandle | undefined;
	try {
		handle = await fs.open(path, 'r');
		const stat = await handle.stat();
		if (!stat.isFile()) throw new FormatError('E_NOT_A_FILE', `${quote(name)} is no file.`);
		if (stat.size > limit) throw new FormatError('E_LIMIT', `${quote(name)} has ${stat.size} bytes; the limit is ${limit}.`);
		const bytes = new Uint8Array(stat.size);
		let at = 0;
		while (at < bytes.length) {
			const { bytesRead } = await handle.read(bytes, at, bytes.length - at, at);
			if (bytesRead === 0) throw new FormatError('E_INPUT_CHANGED', `${quote(name)} became shorter while it was read; try again.`);
			at += bytesRead;
		}
		return bytes;
	} catch (error) {
		throw readError(error, name);
	} finally {
		await handle?.close();
	}
}
