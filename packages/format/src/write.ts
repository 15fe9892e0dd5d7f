import type { ByteSink } from './containers/container.js';
import { planSafetensors, type SafetensorsPlan, writeSafetensors } from './containers/safetensors-write.js';
import { tensorStream } from './containers/tensor-stream.js';
import type { PlannedFile } from './convert.js';
import { legacyHeader, recordedHashes, refreshHashes, sshsHasher } from './hashes/index.js';
import { createSha256, type HasherFactory } from './sha256.js';

/** A sink that can go back: a file. With it, hashes of the data are put into the header after one pass. */
export interface PatchableSink extends ByteSink {
	patch?(offset: number, bytes: Uint8Array): Promise<void>;
}

export interface WriteFileOptions {
	/** SHA-256 to use; default is the isomorphic one, Node has a faster one. */
	readonly hasher?: HasherFactory | undefined;
	/** Folder name inside a torch zip: the stem of the file name. */
	readonly rootName?: string | undefined;
	readonly onProgress?: ((bytesDone: number, bytesTotal: number) => void) | undefined;
}

/**
 * Write one planned file to a sink, streaming: memory stays small whatever the size of the file. Header entries
 * that are hashes of the file (`sshs_*`, `modelspec.hash_sha256`) are made true; such entries are never added.
 *
 * @returns bytes written
 * @throws {FormatError} what reading and computing the tensors throws, `E_UNSUPPORTED_DTYPE`, and what the sink throws.
 */
export async function writePlannedFile(file: PlannedFile, sink: PatchableSink, options: WriteFileOptions = {}): Promise<number> {
	if (file.container === 'torch-zip') return writeTorch(file, sink, options);
	if (recordedHashes(file.metadata).length === 0) {
		const plan = planSafetensors(file.tensors, file.metadata);
		await writeSafetensors(plan, sink, { onProgress: progress(plan, options) });
		return plan.totalBytes;
	}
	return writeHashed(file, sink, options);
}

async function writeTorch(file: PlannedFile, sink: ByteSink, options: WriteFileOptions): Promise<number> {
	const { planTorchZip } = await import('./containers/torch-write.js');
	const plan = planTorchZip(file.tensors, { top: file.top, rootName: options.rootName });
	let done = 0;
	await plan.write({
		async write(bytes) {
			await sink.write(bytes);
			done += bytes.byteLength;
			options.onProgress?.(done, plan.totalBytes);
		},
	});
	return plan.totalBytes;
}

/** Placeholders of the right length first, then the true values: patched in, or by hashing before writing. */
async function writeHashed(file: PlannedFile, sink: PatchableSink, options: WriteFileOptions): Promise<number> {
	const create = options.hasher ?? createSha256;
	const blank = refreshHashes(file.metadata, { modelHash: '0'.repeat(64), legacyHash: '0'.repeat(8) }).metadata;
	const draft = planSafetensors(file.tensors, blank);
	const hasher = sshsHasher(legacyHeader(draft.order, file.metadata), create);
	const final = (): SafetensorsPlan => planSafetensors(file.tensors, refreshHashes(file.metadata, hasher.digest()).metadata);
	if (sink.patch !== undefined) {
		await writeSafetensors(draft, sink, { hasher, onProgress: progress(draft, options) });
		await sink.patch(0, final().header);
		return draft.totalBytes;
	}
	for await (const bytes of tensorStream(draft.order.map(([, tensor]) => tensor))) hasher.update(bytes);
	const plan = final();
	await writeSafetensors(plan, sink, { onProgress: progress(plan, options) });
	return plan.totalBytes;
}

function progress(plan: SafetensorsPlan, options: WriteFileOptions): ((done: number) => void) | undefined {
	const { onProgress } = options;
	return onProgress === undefined ? undefined : (done) => onProgress(done, plan.totalBytes);
}
