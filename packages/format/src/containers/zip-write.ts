import type { ByteSink } from './container.js';
import { crc32 } from './crc32.js';

/** One entry to be written, stored. */
export interface ZipWriteEntry {
	readonly name: string;
	/** Bytes of content, exactly. */
	readonly size: number;
	/** Content, in pieces. */
	chunks(): AsyncIterable<Uint8Array>;
}

export interface ZipPlan {
	/** Size of the archive in bytes, exactly. */
	readonly totalBytes: number;
	/** Write it, front to back, in one pass. @throws {TypeError} when an entry gives another number of bytes than promised. */
	write(sink: ByteSink): Promise<void>;
}

/** Data of every entry begins at a multiple of this, as torch has it. */
const ALIGNMENT = 64;
const MAX32 = 0xffffffff;
/** 1980-01-01 00:00, the first moment a zip can name: the same input gives the same bytes. torch writes 0. */
const DATE = 0x21;

interface Placed {
	readonly entry: ZipWriteEntry;
	readonly name: Uint8Array;
	readonly offset: number;
	/** Bytes of the local extra field that aligns the data. */
	readonly padding: number;
	/** Sizes that need 64 bits in the local header, the descriptor and the directory. */
	readonly wide: boolean;
}

/**
 * Lay out a zip archive in torch's manner: entries stored, flags 0x0808 (descriptor behind the data, UTF-8 names),
 * data aligned by a local extra field "FB", zip64 where a number needs it. One pass: the CRC is summed while the data
 * passes and goes into the descriptor and the directory.
 * Source of the layout: measured on torch 2.13; LAYOUTS.md 8.2.
 */
export function planZip(entries: readonly ZipWriteEntry[]): ZipPlan {
	const placed: Placed[] = [];
	let offset = 0;
	let directory = 0;
	for (const entry of entries) {
		const name = new TextEncoder().encode(entry.name);
		const wide = entry.size >= MAX32;
		const fixed = offset + 30 + name.byteLength + (wide ? 20 : 0) + 4;
		const padding = (ALIGNMENT - (fixed % ALIGNMENT)) % ALIGNMENT;
		placed.push({ entry, name, offset, padding, wide });
		directory += 46 + name.byteLength + directoryExtra(wide, offset);
		offset = fixed + padding + entry.size + (wide ? 24 : 16);
	}
	const end = { count: entries.length, size: directory, offset };
	const totalBytes = offset + directory + endBytes(end).byteLength;
	return {
		totalBytes,
		async write(sink) {
			const crcs: number[] = [];
			for (const place of placed) crcs.push(await writeEntry(place, sink));
			for (const [k, place] of placed.entries()) await sink.write(directoryBytes(place, crcs[k] ?? 0));
			await sink.write(endBytes(end));
		},
	};
}

async function writeEntry(place: Placed, sink: ByteSink): Promise<number> {
	await sink.write(localBytes(place));
	const { entry } = place;
	let crc = 0;
	let written = 0;
	for await (const chunk of entry.chunks()) {
		crc = crc32(chunk, crc);
		written += chunk.byteLength;
		await sink.write(chunk);
	}
	if (written !== entry.size) throw new TypeError(`zip entry ${entry.name} gave ${written} of ${entry.size} bytes`);
	const bytes = new Bytes(place.wide ? 24 : 16).u32(0x08074b50).u32(crc);
	await sink.write((place.wide ? bytes.u64(entry.size).u64(entry.size) : bytes.u32(entry.size).u32(entry.size)).bytes);
	return crc;
}

function localBytes({ name, padding, wide }: Placed): Uint8Array {
	const extra = (wide ? 20 : 0) + 4 + padding;
	const bytes = new Bytes(30 + name.byteLength + extra)
		.u32(0x04034b50)
		.u16(wide ? 45 : 0)
		.u16(0x0808)
		.u16(0)
		.u16(0)
		.u16(DATE);
	// Behind flag bit 3 CRC and sizes are 0 here; with zip64 the 32-bit sizes say "look in the extra field".
	bytes
		.u32(0)
		.u32(wide ? MAX32 : 0)
		.u32(wide ? MAX32 : 0)
		.u16(name.byteLength)
		.u16(extra)
		.put(name);
	if (wide) bytes.u16(1).u16(16).u64(0).u64(0);
	bytes.u16(0x4246).u16(padding).put(new Uint8Array(padding).fill(0x5a));
	return bytes.bytes;
}

function directoryExtra(wide: boolean, offset: number): number {
	const fields = (wide ? 2 : 0) + (offset >= MAX32 ? 1 : 0);
	return fields === 0 ? 0 : 4 + 8 * fields;
}

function directoryBytes({ entry, name, offset, wide }: Placed, crc: number): Uint8Array {
	const extra = directoryExtra(wide, offset);
	const size = wide ? MAX32 : entry.size;
	const bytes = new Bytes(46 + name.byteLength + extra)
		.u32(0x02014b50)
		.u16(0)
		.u16(extra > 0 ? 45 : 0)
		.u16(0x0808)
		.u16(0)
		.u16(0)
		.u16(DATE);
	bytes.u32(crc).u32(size).u32(size).u16(name.byteLength).u16(extra).u16(0).u16(0).u16(0).u32(0).u32(Math.min(offset, MAX32)).put(name);
	if (extra > 0) bytes.u16(1).u16(extra - 4);
	if (wide) bytes.u64(entry.size).u64(entry.size);
	if (offset >= MAX32) bytes.u64(offset);
	return bytes.bytes;
}

function endBytes({ count, size, offset }: { readonly count: number; readonly size: number; readonly offset: number }): Uint8Array {
	const wide = count >= 0xffff || size >= MAX32 || offset >= MAX32;
	const bytes = new Bytes((wide ? 76 : 0) + 22);
	if (wide) {
		bytes.u32(0x06064b50).u64(44).u16(45).u16(45).u32(0).u32(0).u64(count).u64(count).u64(size).u64(offset);
		bytes
			.u32(0x07064b50)
			.u32(0)
			.u64(offset + size)
			.u32(1);
	}
	const short = Math.min(count, 0xffff);
	return bytes.u32(0x06054b50).u16(0).u16(0).u16(short).u16(short).u32(Math.min(size, MAX32)).u32(Math.min(offset, MAX32)).u16(0).bytes;
}

/** Little-endian numbers, one after the other. */
class Bytes {
	readonly bytes: Uint8Array;
	readonly #view: DataView;
	#at = 0;

	constructor(size: number) {
		const buffer = new ArrayBuffer(size);
		this.bytes = new Uint8Array(buffer);
		this.#view = new DataView(buffer);
	}

	u16(value: number): this {
		this.#view.setUint16(this.#at, value, true);
		this.#at += 2;
		return this;
	}

	u32(value: number): this {
		this.#view.setUint32(this.#at, value, true);
		this.#at += 4;
		return this;
	}

	u64(value: number): this {
		this.#view.setBigUint64(this.#at, BigInt(value), true);
		this.#at += 8;
		return this;
	}

	put(bytes: Uint8Array): this {
		this.bytes.set(bytes, this.#at);
		this.#at += bytes.byteLength;
		return this;
	}
}
