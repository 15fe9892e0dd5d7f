import type { ByteSource } from '../byte-source.js';
import { FormatError, quote } from '../errors.js';
import { COPY_CHUNK_BYTES, MAX_HEADER_BYTES } from '../limits.js';
import type { StateDict } from '../state-dict.js';
import type { HasherFactory } from './hasher.js';
import { legacyHeader } from './legacy-header.js';
import { sshsHasher, windowed } from './sshs.js';

/** Every hash that a site or a user interface knows a LoRA file by. `lora.hash/1`, schema/hash.schema.json. */
export interface FileHashes {
	readonly schema: 'lora.hash/1';
	readonly file: string;
	readonly bytes: number;
	/** SHA-256 of the whole file, 64 hex. */
	readonly sha256: string;
	/** First 8 hex of SHA-256 of bytes 0x100000 to 0x110000 of the file as it is: A1111's and Civitai's AutoV1. */
	readonly autoV1: string;
	/** First 10 hex of `sha256`: Civitai's AutoV2, A1111's checkpoint hash. */
	readonly autoV2: string;
	/** SHA-256 of the data section, 64 hex: Civitai's AutoV3. null for files that are not safetensors. */
	readonly autoV3: string | null;
	/** First 12 hex of `autoV3`, as Civitai and A1111 show it. */
	readonly autoV3Short: string | null;
	/** The same number under sd-scripts' name `sshs_model_hash`. */
	readonly sshsModelHash: string | null;
	/** `sshs_legacy_hash` of sd-scripts: 8 hex, over the file with only its `ss_*` entries. */
	readonly sshsLegacyHash: string | null;
	/** `modelspec.hash_sha256`: `0x` and `autoV3`. */
	readonly modelspecHash: string | null;
	/** What the header says, so that stale values show. */
	readonly recorded: Readonly<Record<string, string>>;
	/** Header entries whose value is not the computed one. */
	readonly stale: readonly string[];
}

/**
 * All hashes in one pass over the bytes. `state` is the file's state dict where it is a safetensors file.
 * Sources: LAYOUTS §7.2; kohya-ss/sd-scripts@48d368f library/train_util.py `addnet_hash_legacy`, `addnet_hash_safetensors`;
 * Stability-AI/ModelSpec@fe8dc60 `modelspec.hash_sha256`.
 *
 * @throws {FormatError} whatever the source throws, and `E_TRUNCATED` for a header longer than the file.
 */
export async function fileHashes(source: ByteSource, state: StateDict | undefined, create: HasherFactory): Promise<FileHashes> {
	const safetensors = state?.container === 'safetensors' ? state : undefined;
	const dataBegin = safetensors === undefined ? source.size : await dataSectionBegin(source);
	const whole = create();
	const v1 = create();
	const sshs = safetensors === undefined ? undefined : sshsHasher(legacyHeader(safetensors.tensors, safetensors.metadata), create);
	for (let at = 0; at < source.size; at += COPY_CHUNK_BYTES) {
		const bytes = await source.read(at, Math.min(COPY_CHUNK_BYTES, source.size - at));
		whole.update(bytes);
		windowed(v1, bytes, at, 0x100000, 0x110000);
		if (sshs !== undefined && at + bytes.byteLength > dataBegin) sshs.update(bytes.subarray(Math.max(0, dataBegin - at)));
	}
	const sha256 = whole.digestHex();
	const digest = sshs?.digest();
	const recorded = recordedHashes(safetensors?.metadata ?? new Map());
	const computed = new Map<string, string>();
	if (digest !== undefined) for (const [key, value] of hashEntries(digest)) computed.set(key, value);
	return {
		schema: 'lora.hash/1',
		file: source.name,
		bytes: source.size,
		sha256,
		autoV1: v1.digestHex().slice(0, 8),
		autoV2: sha256.slice(0, 10),
		autoV3: digest?.modelHash ?? null,
		autoV3Short: digest?.modelHash.slice(0, 12) ?? null,
		sshsModelHash: digest?.modelHash ?? null,
		sshsLegacyHash: digest?.legacyHash ?? null,
		modelspecHash: digest === undefined ? null : `0x${digest.modelHash}`,
		recorded: Object.fromEntries(recorded),
		stale: recorded.filter(([key, value]) => value.toLowerCase() !== computed.get(key)).map(([key]) => key),
	};
}

/** Header entries that are hashes of the file they stand in. */
export const HASH_KEYS: readonly string[] = ['sshs_model_hash', 'sshs_legacy_hash', 'modelspec.hash_sha256'];

/** The values that those entries must have. */
export function hashEntries(hashes: { readonly modelHash: string; readonly legacyHash: string }): readonly (readonly [string, string])[] {
	return [
		['sshs_model_hash', hashes.modelHash],
		['sshs_legacy_hash', hashes.legacyHash],
		['modelspec.hash_sha256', `0x${hashes.modelHash}`],
	];
}

/** The hash entries that a header has, in the order of `HASH_KEYS`. */
export function recordedHashes(metadata: ReadonlyMap<string, string>): (readonly [string, string])[] {
	const found: (readonly [string, string])[] = [];
	for (const key of HASH_KEYS) {
		const value = metadata.get(key);
		if (value !== undefined) found.push([key, value]);
	}
	return found;
}

async function dataSectionBegin(source: ByteSource): Promise<number> {
	const head = await source.read(0, 8);
	const length = new DataView(head.buffer, head.byteOffset, 8).getBigUint64(0, true);
	if (length > BigInt(MAX_HEADER_BYTES) || 8 + Number(length) > source.size) {
		throw new FormatError('E_TRUNCATED', `${quote(source.name)} says its header has ${length} bytes, but the file has ${source.size}.`);
	}
	return 8 + Number(length);
}
