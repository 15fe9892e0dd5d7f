import type { ByteSource } from '../byte-source.js';
import { FormatError, quote } from '../errors.js';
import { widen, type ZipEntry } from './zip-read-directory.js';

/** A window where entries are large: a data descriptor and the header behind it come from one request. */
const SMALL_WINDOW_BYTES = 4096;
/** A window where entries are small: one request covers many of them. */
const LARGE_WINDOW_BYTES = 256 * 1024;
/** Mean bytes per entry up to which reading past some data is cheaper than another request. */
const DENSE_ENTRY_BYTES = 32 * 1024;

/**
 * Small reads through one window over a source, of a size that fits how densely its entries lie. Reads larger than
 * the window pass by it.
 */
export class ZipWindow {
	readonly source: ByteSource;
	readonly dense: boolean;
	#start = 0;
	#bytes: Uint8Array = new Uint8Array(0);

	/** @param entries in the archive */
	constructor(source: ByteSource, entries: number) {
		this.source = source;
		this.dense = source.size <= DENSE_ENTRY_BYTES * entries;
	}

	/** `length` bytes from `offset`. A view that others may share: not to be changed. */
	async read(offset: number, length: number): Promise<Uint8Array> {
		const window = this.dense ? LARGE_WINDOW_BYTES : SMALL_WINDOW_BYTES;
		if (length > window) return this.source.read(offset, length);
		if (offset < this.#start || offset + length > this.#start + this.#bytes.byteLength) {
			const bytes = await this.source.read(offset, Math.max(length, Math.min(window, this.source.size - offset)));
			this.#start = offset;
			this.#bytes = bytes;
			return bytes.subarray(0, length);
		}
		return this.#bytes.subarray(offset - this.#start, offset - this.#start + length);
	}
}

/** Where an entry's bytes are. */
export interface ZipPlace {
	/** Byte offset of the (compressed) data. */
	readonly offset: number;
	/** The data itself when it is stored and at most `TINY_BYTES` long: the scalars of an adapter. */
	readonly tiny: Uint8Array | undefined;
}

const TINY_BYTES = 64;

/**
 * Check one local header and data descriptor against the directory, and that the entry fills the file up to
 * `nextStart` (the next local header or the directory): no overlap, no bytes that nobody accounts for.
 *
 * torch writes flags 0x0808: sizes and CRC in the local header are then 0 and stand in a descriptor behind the
 * data; its local extra field "FB" (padding to 64 bytes) is not in the directory (LAYOUTS.md 8.2).
 *
 * @returns byte offset of the entry's data, and the data of a tiny stored entry, which the same request brought
 * @throws {FormatError} `E_ZIP_MISMATCH` where local and central disagree, `E_ZIP` for overlap and gaps.
 */
export async function checkZipLocal(window: ZipWindow, entry: ZipEntry, nextStart: number): Promise<ZipPlace> {
	const file = window.source.name;
	const differs = (what: string): FormatError =>
		new FormatError(
			'E_ZIP_MISMATCH',
			`Zip entry ${quote(entry.name)} of ${file} has ${what} in its local header than in the directory; readers would see different files.`,
			{ at: entry.name },
		);
	const broken = (what: string): FormatError =>
		new FormatError('E_ZIP', `Zip entry ${quote(entry.name)} of ${file} ${what}; fetch the file again or save it anew.`, {
			at: entry.name,
		});
	const start = entry.localOffset;
	const fixed = await window.read(start, 30);
	let view = new DataView(fixed.buffer, fixed.byteOffset, 30);
	if (view.getUint32(0, true) !== 0x04034b50) throw broken(`has no local header at byte ${start}`);
	const nameLength = view.getUint16(26, true);
	const extraLength = view.getUint16(28, true);
	const dataStart = start + 30 + nameLength + extraLength;
	const dataEnd = dataStart + entry.compressedSize;
	if (dataEnd > nextStart) throw broken('overlaps what follows it');
	const header = await window.read(start, 30 + nameLength + extraLength);
	view = new DataView(header.buffer, header.byteOffset, header.byteLength);
	if (!sameBytes(header.subarray(30, 30 + nameLength), entry.nameBytes)) throw differs('another name');
	if (view.getUint16(6, true) !== entry.flags) throw differs('other flags');
	if (view.getUint16(8, true) !== entry.method) throw differs('another compression method');
	const described = (entry.flags & 8) !== 0;
	const extra = new DataView(header.buffer, header.byteOffset + 30 + nameLength, extraLength);
	const [size, compressed] = widen(extra, [view.getUint32(22, true), view.getUint32(18, true)], file, broken) as [number, number];
	const crc = view.getUint32(14, true);
	const blank = described && size === 0 && compressed === 0 && crc === 0;
	if (!blank && (size !== entry.size || compressed !== entry.compressedSize)) throw differs('another size');
	// Some writers fill the sizes beside a descriptor and leave the CRC to it.
	if (!blank && crc !== entry.crc && !(described && crc === 0)) throw differs('another CRC');
	const keep = entry.method === 0 && entry.size <= TINY_BYTES;
	const place: ZipPlace = { offset: dataStart, tiny: keep ? (await window.read(dataStart, entry.size)).slice() : undefined };
	const gap = nextStart - dataEnd;
	if (!described) {
		if (gap !== 0) throw broken(`is followed by ${gap} bytes that belong to no entry`);
		return place;
	}
	if (gap !== 12 && gap !== 16 && gap !== 20 && gap !== 24) throw broken(`is followed by ${gap} bytes that are no data descriptor`);
	const bytes = await window.read(dataEnd, gap);
	const tail = new DataView(bytes.buffer, bytes.byteOffset, gap);
	// With or without signature (4 bytes); sizes of 4 or of 8 bytes.
	const signed = gap === 16 || gap === 24 ? 4 : 0;
	if (signed === 4 && tail.getUint32(0, true) !== 0x08074b50) throw broken(`is followed by ${gap} bytes that are no data descriptor`);
	const wide = gap >= 20;
	const sizeAt = (k: number): bigint =>
		wide ? tail.getBigUint64(signed + 4 + 8 * k, true) : BigInt(tail.getUint32(signed + 4 + 4 * k, true));
	if (tail.getUint32(signed, true) !== entry.crc || sizeAt(0) !== BigInt(entry.compressedSize) || sizeAt(1) !== BigInt(entry.size)) {
		throw new FormatError(
			'E_ZIP_MISMATCH',
			`Zip entry ${quote(entry.name)} of ${file} has another CRC or size in its data descriptor than in the directory; readers would see different files.`,
			{ at: entry.name },
		);
	}
	return place;
}

function sameBytes(a: Uint8Array, b: Uint8Array): boolean {
	return a.byteLength === b.byteLength && a.every((v, k) => v === b[k]);
}
