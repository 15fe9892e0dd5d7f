import fs from 'node:fs';
import path from 'node:path';
import {
	bytesSource,
	bytesTensor,
	type DType,
	FormatError,
	readSafetensors,
	safetensorsBytes,
	type Tensor,
	type Warning,
} from '@lorakit/format';
import {
	type AtomicWriteOptions,
	createNodeSha256,
	errnoOf,
	openFileSource,
	quotePath,
	readError,
	writeError,
	writeFileAtomic,
} from '@lorakit/format/node';
import type { HostTensor } from '@lorakit/runtime';
import type { CachedTensors, TensorCache } from '../../data/cache-tensors.js';

/** Largest file of a cache: latents of a picture of 4096 x 4096 have 8 MB, states of a text 1 MB. */
export const MAX_CACHE_FILE_BYTES: number = 256 * 1024 * 1024;

/** What files of another version or purpose do not have. */
const FORMAT = 'lorakit.cache/1';
/** Metadata: SHA-256 of names, dtypes, shapes and data, and the key. */
const CHECKSUM = 'lorakit.sha256';
const KEY = 'lorakit.key';

export interface FolderCacheOptions {
	/** Told of files that are damaged and made anew. */
	readonly onWarning?: ((warning: Warning) => void) | undefined;
	/** For tests: file calls that fail in chosen ways. */
	readonly calls?: AtomicWriteOptions['calls'];
}

/**
 * A cache on disk: a safetensors file for each key, in 256 folders by the key's first two digits, so that no folder grows
 * large. Every file is written under another name, synced and renamed, so that two processes that make the same tensors, or one
 * that is killed, leave whole files; each carries the SHA-256 of its data and its key, and a file that has not what it says is
 * made anew.
 *
 * Nothing is ever thrown away: the folder can be deleted whole at any time.
 * @throws {FormatError} `E_IO`, `E_NO_SPACE` when the folder cannot be made
 */
export function createFolderCache(folder: string, options: FolderCacheOptions = {}): TensorCache {
	makeFolder(folder);
	const placeOf = (key: string): { readonly parent: string; readonly file: string } => {
		if (!/^[0-9a-f]{64}$/.test(key)) throw new TypeError(`${key} is no key of a cache`);
		const parent = path.join(folder, key.slice(0, 2));
		return { parent, file: path.join(parent, `${key.slice(2)}.safetensors`) };
	};

	return {
		async get(key) {
			const { file } = placeOf(key);
			try {
				return await readCached(file, key);
			} catch (error) {
				if (error instanceof FormatError && errnoOf(error.cause) === 'ENOENT') return undefined;
				if (!(error instanceof FormatError) || !DAMAGE.has(error.code)) throw error;
				options.onWarning?.({
					code: 'W_CACHE_DAMAGED',
					message: `${quotePath(file)} in the cache is damaged and is made anew: ${error.message}`,
					at: file,
				});
				return undefined;
			}
		},
		async put(key, tensors) {
			const { parent, file } = placeOf(key);
			const bytes = await fileBytes(key, tensors);
			makeFolder(parent);
			await writeFileAtomic(file, (sink) => sink.write(bytes), { force: true, calls: options.calls });
		},
	};
}

/** What a file can be refused for that writing it anew puts right. */
const DAMAGE: ReadonlySet<string> = new Set([
	'E_EMPTY',
	'E_TRUNCATED',
	'E_HEADER_TOO_LARGE',
	'E_HEADER_UTF8',
	'E_HEADER_JSON',
	'E_HEADER_NOT_OBJECT',
	'E_DUPLICATE_KEY',
	'E_METADATA',
	'E_TENSOR_INFO',
	'E_DTYPE',
	'E_SHAPE',
	'E_OVERFLOW',
	'E_OFFSETS',
	'E_OVERLAP',
	'E_HOLE',
	'E_TRAILING',
	'E_NAME',
	'E_NAME_COLLISION',
	'E_LIMIT',
	'E_FORMAT',
	'E_INPUT_CHANGED',
]);

async function readCached(file: string, key: string): Promise<CachedTensors | undefined> {
	let stat: fs.Stats | undefined;
	try {
		stat = fs.statSync(file, { throwIfNoEntry: false });
	} catch (error) {
		if (errnoOf(error) === 'ENOTDIR') return undefined;
		throw readError(error, file);
	}
	if (stat === undefined) return undefined;
	if (stat.size > MAX_CACHE_FILE_BYTES)
		throw new FormatError('E_LIMIT', `it has ${stat.size} bytes; the limit is ${MAX_CACHE_FILE_BYTES}.`);
	const { tensors, metadata } = await readSafetensors(bytesSource(await wholeFile(file), file));
	if (metadata.get('format') !== FORMAT) throw new FormatError('E_FORMAT', 'it is no file of this cache.');
	if (metadata.get(KEY) !== key) throw new FormatError('E_FORMAT', 'it belongs to another key.');
	const out: Record<string, HostTensor> = {};
	for (const [name, tensor] of tensors) out[name] = hostTensor(tensor, await tensor.read());
	if (checksum(out) !== metadata.get(CHECKSUM)) throw new FormatError('E_FORMAT', 'its data do not have the checksum in its header.');
	return out;
}

async function wholeFile(file: string): Promise<Uint8Array> {
	const source = await openFileSource(file);
	try {
		return await source.read(0, source.size);
	} finally {
		await source.close();
	}
}

const DTYPES: ReadonlyMap<HostTensor['dtype'], DType> = new Map([
	['f32', 'F32'],
	['f64', 'F64'],
	['i32', 'I32'],
]);

function hostTensor({ dtype, shape }: Tensor, bytes: Uint8Array): HostTensor {
	// In memory of its own: aligned, and not holding the whole file. (A Buffer's own slice would share it.)
	const { buffer } = new Uint8Array(bytes);
	if (dtype === 'F32') return { dtype: 'f32', shape, data: new Float32Array(buffer) };
	if (dtype === 'F64') return { dtype: 'f64', shape, data: new Float64Array(buffer) };
	if (dtype === 'I32') return { dtype: 'i32', shape, data: new Int32Array(buffer) };
	throw new FormatError('E_DTYPE', `it has a tensor of ${dtype}.`);
}

async function fileBytes(key: string, tensors: CachedTensors): Promise<Uint8Array> {
	const stored = new Map<string, Tensor>();
	for (const [name, tensor] of Object.entries(tensors)) {
		stored.set(name, bytesTensor(DTYPES.get(tensor.dtype) ?? 'F32', tensor.shape, bytesOf(tensor)));
	}
	const metadata = new Map([
		['format', FORMAT],
		[KEY, key],
		[CHECKSUM, checksum(tensors)],
	]);
	return await safetensorsBytes(stored, metadata);
}

function checksum(tensors: CachedTensors): string {
	const hash = createNodeSha256();
	const text = new TextEncoder();
	for (const [name, tensor] of Object.entries(tensors).sort(([a], [b]) => (a < b ? -1 : 1))) {
		hash.update(text.encode(JSON.stringify([name, tensor.dtype, tensor.shape])));
		hash.update(bytesOf(tensor));
	}
	return hash.digestHex();
}

function bytesOf({ data }: HostTensor): Uint8Array {
	return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function makeFolder(folder: string): void {
	try {
		fs.mkdirSync(folder, { recursive: true });
	} catch (error) {
		throw writeError(error, folder);
	}
}
