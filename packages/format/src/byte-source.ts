import { FormatError } from './errors.js';

/**
 * Random access to bytes that may be anywhere: memory, a browser `File`, a file on disk, an HTTP resource.
 * Readers ask for ranges; nothing reads a whole file unless it is small.
 */
export interface ByteSource {
	/** What to call it in messages: a path, a URL, a file name. */
	readonly name: string;
	/** Total size in bytes. */
	readonly size: number;
	/** True when every read costs a network request: readers then fetch headers only. */
	readonly remote: boolean;
	/**
	 * Exactly `length` bytes from `offset`; the caller owns the result.
	 * @throws {FormatError} `E_TRUNCATED` when the source has become shorter, `E_IO` when it cannot be read.
	 */
	read(offset: number, length: number): Promise<Uint8Array>;
	/** Free what is held (descriptor, connection). Reading afterwards is an error. */
	close(): Promise<void>;
}

/** A source over bytes in memory. `read` copies, so the caller may change what it gets. */
export function bytesSource(bytes: Uint8Array, name = 'bytes'): ByteSource {
	return {
		name,
		size: bytes.byteLength,
		remote: false,
		async read(offset, length) {
			checkRange(name, bytes.byteLength, offset, length);
			return bytes.slice(offset, offset + length);
		},
		async close() {},
	};
}

/** A source over a browser `File` or any `Blob`; only the asked ranges are read. */
export function blobSource(blob: Blob, name?: string): ByteSource {
	const label = name ?? ('name' in blob && typeof blob.name === 'string' ? blob.name : 'blob');
	return {
		name: label,
		size: blob.size,
		remote: false,
		async read(offset, length) {
			checkRange(label, blob.size, offset, length);
			const part = new Uint8Array(await blob.slice(offset, offset + length).arrayBuffer());
			if (part.byteLength !== length) throw shortRead(label, offset, length, part.byteLength);
			return part;
		},
		async close() {},
	};
}

/** @throws {FormatError} `E_TRUNCATED` when the range is not inside the source. */
export function checkRange(name: string, size: number, offset: number, length: number): void {
	if (offset < 0 || length < 0 || offset + length > size) {
		throw new FormatError(
			'E_TRUNCATED',
			`${name} ends at byte ${size}, but bytes ${offset} to ${offset + length} are needed; the file is cut short, fetch it again.`,
		);
	}
}

/** The error for a source that gave fewer bytes than its size promised (it changed while being read). */
export function shortRead(name: string, offset: number, wanted: number, got: number): FormatError {
	return new FormatError(
		'E_TRUNCATED',
		`${name} gave ${got} of ${wanted} bytes at offset ${offset}; it became shorter while it was read, so nothing was written.`,
	);
}
