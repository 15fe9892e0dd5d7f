import type { ByteSource } from './byte-source.js';
import { openStateDict } from './containers/index.js';
import { safetensorsHeader } from './containers/safetensors-header.js';
import { FormatError, quote, type Warning } from './errors.js';
import { legacyHeader, recordedHashes, refreshHashes, sshsHasher } from './hashes/index.js';
import { COPY_CHUNK_BYTES } from './limits.js';
import { createSha256, type HasherFactory } from './sha256.js';
import type { StateDict } from './state-dict.js';
import type { PatchableSink } from './write.js';

/** A safetensors file whose header can be written anew. */
export interface EditableMetadata {
	readonly state: StateDict;
	readonly warnings: readonly Warning[];
}

/** What `writeWithMetadata` may be told. */
export interface RewriteOptions {
	readonly hasher?: HasherFactory | undefined;
	readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

/**
 * Open a file in order to edit its header.
 * @throws {FormatError} `E_FORMAT_MISMATCH` for a torch file, which has no header entries, and any container code.
 */
export async function openForMetadata(source: ByteSource): Promise<EditableMetadata> {
	const state = await openStateDict(source, { values: false });
	if (state.container !== 'safetensors') {
		throw new FormatError(
			'E_FORMAT_MISMATCH',
			`${quote(source.name)} is a torch file, which has no header entries; "lora convert IN OUT.safetensors --to keep" makes a file that has.`,
		);
	}
	return { state, warnings: state.warnings };
}

/**
 * Write a safetensors file again with another header: the data section goes through byte for byte, in its own order,
 * so hashes of it (AutoV3, `sshs_model_hash`) stay what they are. Entries that are hashes are made true (one more
 * pass over the data when the sink cannot go back); none is added.
 *
 * @param state - what `source` holds (`openForMetadata`).
 * @throws {FormatError} `E_METADATA` for half a surrogate pair, `E_HEADER_TOO_LARGE`, and what the source and the sink throw.
 */
export async function writeWithMetadata(
	source: ByteSource,
	state: StateDict,
	metadata: ReadonlyMap<string, string>,
	sink: PatchableSink,
	options: RewriteOptions = {},
): Promise<void> {
	const dataBytes = [...state.tensors.values()].reduce((sum, tensor) => sum + tensor.nbytes, 0);
	const [first] = state.tensors.values();
	const dataBegin = first?.range?.offset ?? 0;
	const dataEnd = dataBegin + dataBytes;
	const hashed = recordedHashes(metadata).length > 0;
	const hasher = hashed ? sshsHasher(legacyHeader(state.tensors, metadata), options.hasher ?? createSha256) : undefined;
	const draft = safetensorsHeader(state.tensors, hashed ? refreshHashes(metadata, BLANK).metadata : metadata);
	const total = draft.byteLength + dataBytes;
	const truth = (): Uint8Array =>
		hasher === undefined ? draft : safetensorsHeader(state.tensors, refreshHashes(metadata, hasher.digest()).metadata);
	const pass = async (each: (bytes: Uint8Array) => Promise<void> | void): Promise<void> => {
		for (let at = dataBegin; at < dataEnd; at += COPY_CHUNK_BYTES)
			await each(await source.read(at, Math.min(COPY_CHUNK_BYTES, dataEnd - at)));
	};
	const early = hasher !== undefined && sink.patch === undefined;
	if (early) await pass((bytes) => hasher.update(bytes));
	await sink.write(early ? truth() : draft);
	let done = draft.byteLength;
	await pass(async (bytes) => {
		if (!early) hasher?.update(bytes);
		await sink.write(bytes);
		done += bytes.byteLength;
		options.onProgress?.(done, total);
	});
	if (!early && hasher !== undefined) await sink.patch?.(0, truth());
}

/** Values of the right length, so that the header's length does not change when the true ones come. */
const BLANK = { modelHash: '0'.repeat(64), legacyHash: '0'.repeat(8) };
