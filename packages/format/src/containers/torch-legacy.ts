import type { ByteSource } from '../byte-source.js';
import { FormatError, quote, type Warning } from '../errors.js';
import { MAX_PICKLE_BYTES } from '../limits.js';
import { readSmallValues } from '../small-values.js';
import type { StateDict } from '../state-dict.js';
import type { ReadOptions } from './container.js';
import { PickleEndsEarly } from './pickle-cursor.js';
import { type PickleOptions, type PickleResult, runPickle } from './pickle-machine.js';
import type { PyValue } from './pickle-value.js';
import { readTorchObject } from './torch-object.js';
import { StorageTable } from './torch-persistent.js';
import type { StorageBacking } from './torch-storage.js';

/** First number of a legacy file. Source: pytorch `torch/serialization.py` MAGIC_NUMBER. */
const MAGIC = 0x1950a86a20f9469cfc6cn;
const PROTOCOL = 1001;
/** First window on a pickle of unknown length. */
const FIRST_WINDOW_BYTES = 64 * 1024;

/**
 * Read a torch file from before 1.6 (or `_use_new_zipfile_serialization=False`): five pickles (magic number, 1001,
 * system, object, storage keys), then per key an int64 element count and the raw elements. LAYOUTS.md 8.3.
 * Nothing but the pickles and the counts is fetched; tensors are lazy.
 *
 * @throws {FormatError} `E_FORMAT` for other pickles, `E_BYTEORDER`, `E_PICKLE_*`, `E_TRUNCATED`, `E_NO_TENSORS`,
 * `E_UNSUPPORTED_*`, `E_NAME*`, `E_LIMIT`.
 */
export async function readTorchLegacy(source: ByteSource, options: ReadOptions = {}): Promise<StateDict> {
	const reader = new PickleSequence(source);
	await checkMagic(reader);
	const protocol = await reader.next('the protocol number', refuseStorage);
	if (protocol.value !== PROTOCOL) {
		throw new FormatError('E_FORMAT', `${source.name} declares a torch file protocol that is not ${PROTOCOL}; no torch writes such files.`);
	}
	checkSystem((await reader.next('the system information', refuseStorage)).value, source.name);
	const places = new Map<string, LegacyStorage>();
	const storages = new StorageTable((id) => {
		const storage = new LegacyStorage(source, id.nbytes);
		places.set(id.key, storage);
		return storage.backing;
	});
	const object = await reader.next('the object', (id, where) => storages.load(id, where));
	const keys = storageKeys((await reader.next('the storage keys', refuseStorage)).value, source.name);
	const end = await placeStorages(source, reader.at, keys, storages, places);
	const parts = readTorchObject(object, source.name);
	const values = options.values ?? !source.remote;
	const warnings: Warning[] = [...parts.warnings];
	if (end < source.size) {
		warnings.push({
			code: 'W_TRAILING',
			message: `${source.name} has ${source.size - end} bytes after its last storage, which are ignored.`,
		});
	}
	return {
		container: 'torch-legacy',
		name: source.name,
		metadata: new Map(),
		...parts,
		small: values ? await readSmallValues(parts.tensors) : new Map(),
		smallComplete: values,
		warnings,
	};
}

/** A storage whose place becomes known only after the object has been read. */
class LegacyStorage {
	readonly backing: StorageBacking;
	offset = -1;

	constructor(source: ByteSource, nbytes: number) {
		const part: ByteSource = {
			name: source.name,
			size: nbytes,
			remote: source.remote,
			read: (offset, length) => source.read(this.offset + offset, length),
			close: async () => {},
		};
		this.backing = { nbytes, source: part, read: (offset, length) => part.read(offset, length) };
	}
}

/** Consecutive pickles in a source; each is fetched in windows that double until it ends. */
class PickleSequence {
	readonly source: ByteSource;
	at = 0;
	#window: Uint8Array = new Uint8Array(0);
	#start = 0;

	constructor(source: ByteSource) {
		this.source = source;
	}

	async next(what: string, persistentLoad: PickleOptions['persistentLoad']): Promise<PickleResult> {
		const options: PickleOptions = { what: `${what} of ${this.source.name}`, persistentLoad };
		const left = this.source.size - this.at;
		for (let size = FIRST_WINDOW_BYTES; ; size *= 4) {
			const length = Math.min(size, left, MAX_PICKLE_BYTES);
			if (this.at + length > this.#start + this.#window.byteLength) {
				this.#window = await this.source.read(this.at, length);
				this.#start = this.at;
			}
			try {
				const result = runPickle(this.#window, this.at - this.#start, options);
				this.at = this.#start + result.end;
				return result;
			} catch (error) {
				if (!(error instanceof PickleEndsEarly) || length === left) throw error;
				if (length === MAX_PICKLE_BYTES) {
					throw new FormatError('E_LIMIT', `${what} of ${this.source.name} is a pickle of more than ${MAX_PICKLE_BYTES} bytes.`);
				}
			}
		}
	}
}

/** Anything that does not begin with torch's number is another pickle (or no pickle at all). */
async function checkMagic(reader: PickleSequence): Promise<void> {
	let value: PyValue = null;
	try {
		value = (await reader.next('the magic number', refuseStorage)).value;
	} catch (error) {
		// A dangerous name is worth more to the user than "not a torch file".
		if (!(error instanceof FormatError) || error.code === 'E_PICKLE_GLOBAL' || error.code === 'E_IO') throw error;
	}
	if (value !== MAGIC) {
		throw new FormatError(
			'E_FORMAT',
			`${reader.source.name} does not begin with torch's magic number; it is some other pickle or no torch file, expected the output of torch.save.`,
		);
	}
}

function checkSystem(value: PyValue, file: string): void {
	if (typeof value !== 'object' || value === null || value.t !== 'dict') {
		throw new FormatError('E_PICKLE_CORRUPT', `${file} has system information that is no dict; the file is damaged.`);
	}
	const little = value.entries?.get('little_endian')?.value;
	if (little !== true) {
		throw new FormatError('E_BYTEORDER', `${file} was not written on a little-endian machine; save it anew on one.`);
	}
}

function storageKeys(value: PyValue, file: string): ReadonlySet<string> {
	const keys = new Set<string>();
	if (typeof value === 'object' && value !== null && value.t === 'list') {
		for (const key of value.items) if (typeof key === 'string') keys.add(key);
		if (keys.size === value.items.length) return keys;
	}
	throw new FormatError('E_PICKLE_CORRUPT', `${file} has no list of distinct storage keys; the file is damaged.`);
}

/** Find every storage's bytes. @returns offset behind the last one */
async function placeStorages(
	source: ByteSource,
	start: number,
	keys: ReadonlySet<string>,
	storages: StorageTable,
	places: ReadonlyMap<string, LegacyStorage>,
): Promise<number> {
	const ids = storages.ids;
	for (const key of ids.keys()) {
		// torch would hand out uninitialised memory here.
		if (!keys.has(key)) throw bad(source.name, key, 'is used but its bytes are not in the file');
	}
	let at = start;
	for (const key of keys) {
		const id = ids.get(key);
		const place = places.get(key);
		if (id === undefined || place === undefined) throw bad(source.name, key, 'is listed but nothing says its type');
		const header = await source.read(at, 8);
		const count = new DataView(header.buffer, header.byteOffset, 8).getBigInt64(0, true);
		if (count * BigInt(id.dtype?.bytes ?? 1) !== BigInt(id.nbytes)) {
			throw bad(source.name, key, `has ${count} elements in the file, but the pickle says ${id.nbytes / (id.dtype?.bytes ?? 1)}`);
		}
		place.offset = at + 8;
		at += 8 + id.nbytes;
		if (at > source.size) {
			throw new FormatError(
				'E_TRUNCATED',
				`${source.name} ends at byte ${source.size}, inside storage ${quote(key)}, which goes to ${at}; the file is cut short, fetch it again.`,
				{ at: key },
			);
		}
	}
	return at;
}

function bad(file: string, key: string, what: string): FormatError {
	return new FormatError('E_PICKLE_TENSOR', `Storage ${quote(key)} of ${file} ${what}; the file is damaged or hostile.`, { at: key });
}

function refuseStorage(_id: PyValue, where: string): PyValue {
	throw new FormatError('E_PICKLE_PERSID', `${where} has a persistent id outside the object; the file is refused.`);
}
