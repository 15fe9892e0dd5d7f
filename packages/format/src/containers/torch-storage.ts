import { type ByteSource, checkRange } from '../byte-source.js';
import { COPY_CHUNK_BYTES, MAX_INFLATED_STORAGE_BYTES } from '../limits.js';
import { crc32 } from './crc32.js';
import type { ZipArchive, ZipEntry } from './zip-read.js';

/** Where the bytes of a torch storage are. Offsets count from the start of the storage. */
export interface StorageBacking {
	readonly nbytes: number;
	/** A source over exactly the storage when its bytes lie in the file as they are; undefined when deflated. */
	readonly source: ByteSource | undefined;
	/** @throws {FormatError} `E_ZIP`, `E_ZIP_CRC`, `E_TRUNCATED`, `E_IO`. */
	read(offset: number, length: number): Promise<Uint8Array>;
}

/** A storage that is a zip entry. Data is fetched, and its CRC checked, when it is read. */
export function zipStorage(zip: ZipArchive, entry: ZipEntry, cache: InflatedCache): StorageBacking {
	if (entry.method === 0) {
		const source = new StoredSource(zip, entry);
		return { nbytes: entry.size, source, read: (offset, length) => source.read(offset, length) };
	}
	return {
		nbytes: entry.size,
		source: undefined,
		async read(offset, length) {
			const bytes = await cache.get(zip, entry);
			checkRange(entry.name, bytes.byteLength, offset, length);
			return bytes.slice(offset, offset + length);
		},
	};
}

/**
 * The storage inflated last, so that several tensors over one deflated storage inflate it once, while no more than
 * one is ever held.
 */
export class InflatedCache {
	#entry: ZipEntry | undefined;
	#bytes: Promise<Uint8Array> | undefined;

	get(zip: ZipArchive, entry: ZipEntry): Promise<Uint8Array> {
		if (this.#entry !== entry || this.#bytes === undefined) {
			this.#entry = entry;
			const bytes = zip.read(entry, MAX_INFLATED_STORAGE_BYTES);
			this.#bytes = bytes;
			bytes.catch(() => {
				if (this.#bytes === bytes) this.#bytes = undefined;
			});
		}
		return this.#bytes;
	}
}

/**
 * A stored zip entry as a source. Reads from front to end are summed as they pass, so that streaming a tensor
 * checks its CRC for nothing; a read anywhere else sums the whole entry first, once. So no byte is used without a
 * check, except that of a remote file whose header alone is wanted.
 */
class StoredSource implements ByteSource {
	readonly name: string;
	readonly size: number;
	readonly remote: boolean;
	readonly #zip: ZipArchive;
	readonly #entry: ZipEntry;
	#summed = 0;
	#crc = 0;
	#busy = false;
	#verified = false;
	#verifying: Promise<void> | undefined;

	constructor(zip: ZipArchive, entry: ZipEntry) {
		this.#zip = zip;
		this.#entry = entry;
		this.name = zip.source.name;
		this.size = entry.size;
		this.remote = zip.source.remote;
		this.#verified = !zip.hasCrc;
	}

	async read(offset: number, length: number): Promise<Uint8Array> {
		checkRange(`${this.name}: ${this.#entry.name}`, this.size, offset, length);
		if (this.#verified || length === 0) return this.#fetch(offset, length);
		if (offset === this.#summed && !this.#busy) {
			this.#busy = true;
			try {
				const bytes = await this.#fetch(offset, length);
				this.#crc = crc32(bytes, this.#crc);
				this.#summed += length;
				if (this.#summed === this.size) {
					this.#summed = 0;
					const crc = this.#crc;
					this.#crc = 0;
					this.#zip.checkCrc(this.#entry, crc);
					this.#verified = true;
				}
				return bytes;
			} finally {
				this.#busy = false;
			}
		}
		this.#verifying ??= this.#verifyAll();
		try {
			await this.#verifying;
		} finally {
			this.#verifying = undefined;
		}
		return this.#fetch(offset, length);
	}

	async close(): Promise<void> {}

	async #fetch(offset: number, length: number): Promise<Uint8Array> {
		const { offset: start, tiny } = await this.#zip.locate(this.#entry);
		return tiny === undefined ? this.#zip.source.read(start + offset, length) : tiny.slice(offset, offset + length);
	}

	async #verifyAll(): Promise<void> {
		let crc = 0;
		for (let at = 0; at < this.size; at += COPY_CHUNK_BYTES) {
			crc = crc32(await this.#fetch(at, Math.min(COPY_CHUNK_BYTES, this.size - at)), crc);
		}
		this.#zip.checkCrc(this.#entry, crc);
		this.#verified = true;
	}
}
