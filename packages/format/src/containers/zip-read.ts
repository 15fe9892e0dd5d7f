import type { ByteSource } from '../byte-source.js';
import { FormatError, quote } from '../errors.js';
import { COPY_CHUNK_BYTES } from '../limits.js';
import { crc32 } from './crc32.js';
import { inflateRaw } from './inflate.js';
import { readZipDirectory, type ZipEntry } from './zip-read-directory.js';
import { readZipEnd } from './zip-read-end.js';
import { checkZipLocal, type ZipPlace, ZipWindow } from './zip-read-local.js';

export type { ZipEntry } from './zip-read-directory.js';

/** An open zip archive whose structure has been checked; content is read on demand, by range. */
export interface ZipArchive {
	readonly source: ByteSource;
	/** In the order of the directory. */
	readonly entries: ReadonlyMap<string, ZipEntry>;
	/** False when every entry records CRC 0: torch's option to write none (`set_crc32_options(False)`). */
	readonly hasCrc: boolean;
	/** Where an entry's (compressed) bytes are. Its local header is checked first, if not yet done. */
	locate(entry: ZipEntry): Promise<ZipPlace>;
	/**
	 * Content of an entry, inflated, its CRC checked.
	 * @throws {FormatError} `E_LIMIT` when it is larger than `cap`, `E_ZIP`, `E_ZIP_CRC`.
	 */
	read(entry: ZipEntry, cap: number): Promise<Uint8Array>;
	/** @throws {FormatError} `E_ZIP_CRC` when `crc` is not what the directory records. */
	checkCrc(entry: ZipEntry, crc: number): void;
}

/** Headers of large entries lie far apart: so many requests are under way at one time. */
const LANES = 8;

/**
 * Open a zip archive for reading. Refuses everything that two readers could see differently: prefix, suffix,
 * gaps, overlaps, duplicate names, local headers and descriptors that disagree with the directory.
 * Over a remote source a local header is checked when its entry is first read; locally all are checked here.
 *
 * @throws {FormatError} `E_ZIP*`, `E_LIMIT`, and the source's own.
 */
export async function openZip(source: ByteSource): Promise<ZipArchive> {
	const end = await readZipEnd(source);
	const entries = await readZipDirectory(source, end);
	const sorted = [...entries.values()].sort((a, b) => a.localOffset - b.localOffset);
	const first = sorted[0]?.localOffset ?? end.offset;
	if (first !== 0) {
		throw new FormatError('E_ZIP', `${source.name} has ${first} bytes before its first zip entry; a torch file has none, save it anew.`);
	}
	const nextStart = new Map<ZipEntry, number>();
	sorted.forEach((entry, k) => {
		const next = sorted[k + 1]?.localOffset ?? end.offset;
		if (next === entry.localOffset) {
			throw new FormatError(
				'E_ZIP',
				`Two zip entries of ${source.name}, ${quote(entry.name)} and another, share one place; save the file anew.`,
			);
		}
		nextStart.set(entry, next);
	});
	const places = new Map<ZipEntry, ZipPlace>();
	const window = new ZipWindow(source, entries.size);
	const locate = async (entry: ZipEntry): Promise<ZipPlace> => {
		const known = places.get(entry);
		if (known !== undefined) return known;
		// Each late check has a window of its own: two reads may be under way at one time.
		const place = await checkZipLocal(new ZipWindow(source, 0), entry, nextStart.get(entry) ?? end.offset);
		places.set(entry, place);
		return place;
	};
	if (!source.remote) {
		const check = async (part: readonly ZipEntry[], through: ZipWindow): Promise<void> => {
			for (const entry of part) places.set(entry, await checkZipLocal(through, entry, nextStart.get(entry) ?? end.offset));
		};
		if (window.dense) await check(sorted, window);
		else {
			const lane = Math.ceil(sorted.length / LANES);
			const parts = Array.from({ length: LANES }, (_, k) => sorted.slice(k * lane, (k + 1) * lane));
			await Promise.all(parts.map((part) => check(part, new ZipWindow(source, 0))));
		}
	}
	const hasCrc = sorted.some((entry) => entry.crc !== 0) || sorted.every((entry) => entry.size === 0);
	const checkCrc = (entry: ZipEntry, crc: number): void => {
		if (hasCrc && crc !== entry.crc) {
			throw new FormatError(
				'E_ZIP_CRC',
				`Zip entry ${quote(entry.name)} of ${source.name} has CRC ${hex(crc)}, but ${hex(entry.crc)} is recorded; the bytes are damaged, fetch the file again.`,
				{ at: entry.name },
			);
		}
	};
	return {
		source,
		entries,
		hasCrc,
		locate,
		checkCrc,
		async read(entry, cap) {
			if (entry.size > cap) {
				throw new FormatError(
					'E_LIMIT',
					`Zip entry ${quote(entry.name)} of ${source.name} has ${entry.size} bytes; at most ${cap} are read.`,
					{ at: entry.name },
				);
			}
			const { offset, tiny } = await locate(entry);
			const bytes =
				tiny !== undefined
					? tiny.slice()
					: entry.method === 0
						? await source.read(offset, entry.size)
						: await inflateRaw(ranges(source, offset, entry.compressedSize), entry.size, `Zip entry ${quote(entry.name)}`);
			checkCrc(entry, crc32(bytes));
			return bytes;
		},
	};
}

async function* ranges(source: ByteSource, offset: number, length: number): AsyncGenerator<Uint8Array, void, undefined> {
	for (let done = 0; done < length; done += COPY_CHUNK_BYTES) {
		yield await source.read(offset + done, Math.min(COPY_CHUNK_BYTES, length - done));
	}
}

function hex(value: number): string {
	return value.toString(16).padStart(8, '0');
}
