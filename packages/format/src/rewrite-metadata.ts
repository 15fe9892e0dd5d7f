import type { ByteSource } from './byte-source.js';
import { openStateDict } from './containers/index.js';
import { FormatError, quote, type Warning } from './errors.js';
import { legacyHeader, recordedHashes, refreshHashes, sshsHasher } from './hashes/index.js';
import { COPY_CHUNK_BYTES, MAX_HEADER_BYTES } from './limits.js';
import { createSha256, type HasherFactory } from './sha256.js';
import type { StateDict } from './state-dict.js';
import { compareUtf8, isWellFormed } from './utf8-order.js';
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
	const draft = headerOf(state, hashed ? refreshHashes(metadata, BLANK).metadata : metadata);
	const total = draft.byteLength + dataBytes;
	const truth = (): Uint8Array => (hasher === undefined ? draft : headerOf(state, refreshHashes(metadata, hasher.digest()).metadata));
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

/** Length field, JSON, spaces up to a multiple of 8. Tensors in the order of the data, which has no holes. */
function headerOf(state: StateDict, metadata: ReadonlyMap<string, string>): Uint8Array {
	const parts: string[] = [];
	if (metadata.size > 0) {
		const entries = [...metadata].sort(([a], [b]) => compareUtf8(a, b));
		for (const [key, value] of entries) {
			if (!isWellFormed(key) || !isWellFormed(value))
				throw new FormatError('E_METADATA', `The metadata entry ${quote(key)} holds half a surrogate pair, which no UTF-8 can hold.`);
		}
		parts.push(`"__metadata__":{${entries.map(([key, value]) => `${JSON.stringify(key)}:${JSON.stringify(value)}`).join(',')}}`);
	}
	let offset = 0;
	for (const [name, { dtype, shape, nbytes }] of state.tensors) {
		parts.push(`${JSON.stringify(name)}:{"dtype":"${dtype}","shape":[${shape.join(',')}],"data_offsets":[${offset},${offset + nbytes}]}`);
		offset += nbytes;
	}
	const json = new TextEncoder().encode(`{${parts.join(',')}}`);
	const length = Math.ceil(json.byteLength / 8) * 8;
	if (length > MAX_HEADER_BYTES)
		throw new FormatError('E_HEADER_TOO_LARGE', `The header would have ${length} bytes, but safetensors allows ${MAX_HEADER_BYTES}.`);
	const header = new Uint8Array(8 + length).fill(0x20, 8 + json.byteLength);
	new DataView(header.buffer).setBigUint64(0, BigInt(length), true);
	header.set(json, 8);
	return header;
}
