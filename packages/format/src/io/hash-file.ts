import type { ByteSource } from '../byte-source.js';
import { COPY_CHUNK_BYTES } from '../limits.js';
import { openFileSource } from './file-source.js';
import { createNodeSha256 } from './node-hasher.js';

/** SHA-256 of a whole source in lower-case hexadecimal, in pieces. @throws {FormatError} whatever reading throws. */
export async function hashSource(source: ByteSource): Promise<string> {
	const hash = createNodeSha256();
	for (let offset = 0; offset < source.size; offset += COPY_CHUNK_BYTES) {
		hash.update(await source.read(offset, Math.min(COPY_CHUNK_BYTES, source.size - offset)));
	}
	return hash.digestHex();
}

/**
 * SHA-256 of a whole file, through one buffer of `COPY_CHUNK_BYTES`.
 * @throws {FormatError} `E_NOT_A_FILE`, `E_IO`, `E_TRUNCATED`; `E_INPUT_CHANGED` when it changed meanwhile.
 */
export async function hashFile(path: string): Promise<string> {
	const source = await openFileSource(path);
	try {
		const hash = createNodeSha256();
		const buffer = new Uint8Array(Math.min(COPY_CHUNK_BYTES, source.size));
		for (let offset = 0; offset < source.size; offset += buffer.byteLength) {
			const piece = buffer.subarray(0, Math.min(buffer.byteLength, source.size - offset));
			await source.readInto(offset, piece);
			hash.update(piece);
		}
		source.assertUnchanged();
		return hash.digestHex();
	} finally {
		await source.close();
	}
}
