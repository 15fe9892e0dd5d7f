import type { BaseTensorFile } from '../../bases/base-model.js';
import type { ByteSource } from '../../byte-source.js';
import { safetensorsHeader } from '../../containers/safetensors-header.js';
import { FormatError, quote, type Warning } from '../../errors.js';
import { legacyHeader, recordedHashes, refreshHashes, sshsHasher } from '../../hashes/index.js';
import type { HasherFactory } from '../../sha256.js';
import type { PatchableSink } from '../../write.js';
import { fuseTensor } from './fuse-tensor.js';
import type { TouchedTensor } from './touched-tensor.js';
import { type DataWindow, dataWindows, type StreamOptions, streamWindows } from './write-fused-windows.js';

export interface WriteFusedOptions {
	/** For the hash entries that the base's header has (`modelspec.hash_sha256`, ...). */
	readonly hasher: HasherFactory;
	/** Write Inf where the stored type cannot hold a result, with a warning, instead of refusing. */
	readonly allowOverflow?: boolean | undefined;
	/** Told each touched tensor as it was and as it is: both are only valid until the promise is settled. */
	readonly onTensor?: ((touched: TouchedTensor, before: Uint8Array, after: Uint8Array) => Promise<void>) | undefined;
	/** Told the base's data section in order; it changes when the promise is settled. See `StreamOptions`. */
	readonly onRead?: StreamOptions['onRead'];
	readonly shared?: boolean | undefined;
	/** Told after each piece: bytes of the data section that are in the sink. */
	readonly onWritten?: ((done: number) => void) | undefined;
}

/** A fused file whose data is written. */
export interface FusedFile {
	/** Size of the whole file. */
	readonly bytes: number;
	/**
	 * Its header with the last word on the metadata: same keys, values of the same lengths as the draft's. Entries that
	 * are hashes of the data (`sshs_*`, `modelspec.hash_sha256`) are true.
	 */
	header(metadata: ReadonlyMap<string, string>): Uint8Array;
	readonly warnings: readonly Warning[];
}

/**
 * Write a safetensors file of a base with its touched tensors fused: the draft of the header, then the data in the
 * base's own order, window by window, each touched tensor rounded once. The header is the caller's to patch
 * (`FusedFile.header`) once the hashes in the recipe are known.
 *
 * @throws {FormatError} what `fuseTensor`, the source and the sink throw; `E_HEADER_TOO_LARGE`, `E_LIMIT`.
 */
export async function writeFusedFile(
	file: BaseTensorFile,
	touched: ReadonlyMap<string, TouchedTensor>,
	draft: ReadonlyMap<string, string>,
	sink: PatchableSink,
	options: WriteFusedOptions,
): Promise<FusedFile> {
	const { state } = file;
	const hashed = recordedHashes(draft).length > 0;
	const hasher = hashed ? sshsHasher(legacyHeader(state.tensors, draft), options.hasher) : undefined;
	const first = safetensorsHeader(state.tensors, refreshHashes(draft, BLANK).metadata);
	await sink.write(first);
	const windows = dataWindows(state, touched);
	const warnings: Warning[] = [];
	const change = async (window: DataWindow, bytes: Uint8Array): Promise<void> => {
		for (const { name, at, nbytes } of window.changed) {
			const target = touched.get(name);
			if (target === undefined) continue;
			const own = bytes.subarray(at, at + nbytes);
			const before = options.onTensor === undefined ? undefined : own.slice();
			const tally = await fuseTensor(target, own, { allowOverflow: options.allowOverflow });
			if (tally.overflowed > 0) warnings.push(overflow(target, tally.overflowed));
			if (before !== undefined) await options.onTensor?.(target, before, own);
		}
	};
	await streamWindows(sourceOf(file), windows, sink, change, {
		onRead: options.onRead,
		shared: options.shared,
		onChanged: hasher === undefined ? undefined : (bytes) => hasher.update(bytes),
		onWritten: options.onWritten,
	});
	const digest = hasher?.digest();
	return {
		bytes: first.byteLength + windows.reduce((sum, { length }) => sum + length, 0),
		header(metadata) {
			const last = safetensorsHeader(state.tensors, digest === undefined ? metadata : refreshHashes(metadata, digest).metadata);
			if (last.byteLength !== first.byteLength)
				throw new TypeError(`header of ${last.byteLength} bytes in the place of ${first.byteLength}`);
			return last;
		},
		warnings,
	};
}

/** Values of the right length, so that the header's length does not change when the true ones come. */
const BLANK = { modelHash: '0'.repeat(64), legacyHash: '0'.repeat(8) };

/** Where the data section of a safetensors file is read from. @throws {FormatError} `E_NO_TENSORS` for a file without data. */
export function sourceOf(file: BaseTensorFile): ByteSource {
	for (const { range } of file.state.tensors.values()) if (range !== undefined) return range.source;
	throw new FormatError('E_NO_TENSORS', `${quote(file.path)} holds no tensors.`);
}

function overflow(touched: TouchedTensor, count: number): Warning {
	return {
		code: 'W_OVERFLOW',
		message: `${count} elements of ${quote(touched.name)} (${touched.modules.join(', ')}) are too large for ${touched.tensor.dtype} and became Inf.`,
		at: touched.name,
	};
}
