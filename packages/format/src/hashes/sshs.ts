import type { StateDict } from '../state-dict.js';
import { tensorChunks } from '../tensor.js';
import type { Hasher, HasherFactory } from './hasher.js';
import { legacyHeader } from './legacy-header.js';

/** Window of bytes that the legacy hash looks at. Source: kohya-ss/sd-scripts@48d368f `addnet_hash_legacy`. */
const LEGACY_BEGIN = 0x100000;
const LEGACY_END = 0x110000;

/** Both hashes that sd-scripts writes, computed while the data section goes by. */
export interface SshsHashes {
	/** SHA-256 of the data section, 64 hex: `sshs_model_hash`, AutoV3, A1111's "addnet hash". */
	readonly modelHash: string;
	/** First 8 hex of SHA-256 of bytes 0x100000 to 0x110000 of the file with only `ss_*` metadata: `sshs_legacy_hash`. */
	readonly legacyHash: string;
}

/**
 * Feeds on the bytes of a data section in order. The legacy window is moved by the length of a header that is
 * not the file's own: see `legacyHeader`.
 */
export function sshsHasher(header: Uint8Array, create: HasherFactory): { update(bytes: Uint8Array): void; digest(): SshsHashes } {
	const model = create();
	const legacy = create();
	let at = 0;
	const feed = (bytes: Uint8Array): void => {
		windowed(legacy, bytes, at, LEGACY_BEGIN, LEGACY_END);
		at += bytes.byteLength;
	};
	feed(header);
	return {
		update(bytes) {
			model.update(bytes);
			feed(bytes);
		},
		digest: () => ({ modelHash: model.digestHex(), legacyHash: legacy.digestHex().slice(0, 8) }),
	};
}

/**
 * Hashes of a state dict as a safetensors file holds it: tensors in the order of the map, without gaps. Reads all data once.
 * @throws {FormatError} whatever reading the tensors throws.
 */
export async function sshsHashes(file: Pick<StateDict, 'tensors' | 'metadata'>, create: HasherFactory): Promise<SshsHashes> {
	const hasher = sshsHasher(legacyHeader(file.tensors, file.metadata), create);
	for (const tensor of file.tensors.values()) for await (const chunk of tensorChunks(tensor)) hasher.update(chunk);
	return hasher.digest();
}

/** SHA-256 of a data section that is in memory. */
export function sshsModelHash(dataSection: Uint8Array, create: HasherFactory): string {
	const hasher = create();
	hasher.update(dataSection);
	return hasher.digestHex();
}

/** Give a hasher those of `bytes`, which begin at byte `at`, that lie in [begin, end). */
export function windowed(hasher: Hasher, bytes: Uint8Array, at: number, begin: number, end: number): void {
	const from = Math.max(begin - at, 0);
	const to = Math.min(end - at, bytes.byteLength);
	if (from < to) hasher.update(bytes.subarray(from, to));
}
