/** A running checksum of a file of the Hub. */
export interface FileChecksum {
	update(bytes: Uint8Array): void;
	/** Lower-case hexadecimal; after this it is used up. */
	digest(): string;
}

/**
 * The checksum that an etag of the Hub is: SHA-256 of the bytes (64 digits), or git's name of a blob, SHA-1 of
 * `blob SIZE\0` and the bytes (40 digits). Source: huggingface_hub@1.33.0 utils/sha.py `git_hash`, utils/_verification.py.
 */
export function fileChecksum(etag: string, size: number): FileChecksum {
	const { createHash } = process.getBuiltinModule('node:crypto');
	const hash = createHash(etag.length === 64 ? 'sha256' : 'sha1');
	if (etag.length !== 64) hash.update(`blob ${size}\0`);
	return {
		update(bytes) {
			hash.update(bytes);
		},
		digest: () => hash.digest('hex'),
	};
}
