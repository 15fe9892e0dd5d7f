import type { ByteSource } from '../byte-source.js';
import { FormatError } from '../errors.js';
import { MAX_ZIP_DIRECTORY_BYTES, MAX_ZIP_ENTRIES } from '../limits.js';

/** Where the central directory lies. */
export interface ZipEnd {
	/** Entries in the directory. */
	readonly count: number;
	/** Bytes of the directory. */
	readonly size: number;
	/** Byte offset of the directory. */
	readonly offset: number;
}

const END_SIZE = 22;
const LOCATOR_SIZE = 20;
const END64_SIZE = 56;
const MAX_COMMENT = 0xffff;

/**
 * Find the end record (and its zip64 part) by reading at most the last 65,557 bytes. The record nearest to the
 * end must be the right one: its comment ends with the file and the directory ends where the record begins.
 * Readers that search differently would otherwise see different archives (SECURITY.md 6.2).
 *
 * @throws {FormatError} `E_ZIP` for anything missing, inconsistent or split over disks; `E_LIMIT` for too many
 * entries or too large a directory.
 */
export async function readZipEnd(source: ByteSource): Promise<ZipEnd> {
	const tailSize = Math.min(source.size, END_SIZE + MAX_COMMENT);
	// One extra stretch for the zip64 records, which stand right before the end record.
	const start = Math.max(0, source.size - tailSize - LOCATOR_SIZE - END64_SIZE);
	const tail = await source.read(start, source.size - start);
	const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
	const at = findEnd(view, source.name);
	const comment = view.getUint16(at + 20, true);
	if (start + at + END_SIZE + comment !== source.size) {
		throw bad(source.name, `has ${source.size - start - at - END_SIZE} bytes after its end record, which declares ${comment}`);
	}
	if (view.getUint16(at + 4, true) !== 0 || view.getUint16(at + 6, true) !== 0) throw bad(source.name, 'is split over several disks');
	const onDisk = view.getUint16(at + 8, true);
	const count = view.getUint16(at + 10, true);
	if (onDisk !== count) throw bad(source.name, `says ${onDisk} and ${count} entries in one end record`);
	const plain: ZipEnd = { count, size: view.getUint32(at + 12, true), offset: view.getUint32(at + 16, true) };
	const hasLocator = at >= LOCATOR_SIZE && view.getUint32(at - LOCATOR_SIZE, true) === 0x07064b50;
	const end = hasLocator
		? await readEnd64(source, view, at - LOCATOR_SIZE, start + at - LOCATOR_SIZE, plain)
		: { ...plain, stop: start + at };
	if (end.count > MAX_ZIP_ENTRIES) {
		throw new FormatError('E_LIMIT', `${source.name} says that it holds ${end.count} zip entries; at most ${MAX_ZIP_ENTRIES} are read.`);
	}
	if (end.size > MAX_ZIP_DIRECTORY_BYTES) {
		throw new FormatError(
			'E_LIMIT',
			`The zip directory of ${source.name} has ${end.size} bytes; at most ${MAX_ZIP_DIRECTORY_BYTES} are read.`,
		);
	}
	if (end.offset + end.size !== end.stop) {
		throw bad(
			source.name,
			`puts its directory at bytes ${end.offset} to ${end.offset + end.size}, but the record that ends it begins at ${end.stop}`,
		);
	}
	return { count: end.count, size: end.size, offset: end.offset };
}

function findEnd(view: DataView, name: string): number {
	for (let at = view.byteLength - END_SIZE; at >= 0; at--) {
		if (view.getUint8(at) === 0x50 && view.getUint32(at, true) === 0x06054b50) return at;
	}
	throw bad(name, 'has no end record; the file is cut short');
}

async function readEnd64(
	source: ByteSource,
	view: DataView,
	locator: number,
	locatorOffset: number,
	plain: ZipEnd,
): Promise<ZipEnd & { readonly stop: number }> {
	const { name } = source;
	const disks = view.getUint32(locator + 16, true);
	if (view.getUint32(locator + 4, true) !== 0 || disks > 1) throw bad(name, 'is split over several disks');
	const offset = u64(view, locator + 8, name);
	if (offset + END64_SIZE > locatorOffset) throw bad(name, `has a zip64 locator that points to ${offset}, which is no end record`);
	const bytes = await source.read(offset, END64_SIZE);
	const record = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	if (record.getUint32(0, true) !== 0x06064b50) throw bad(name, `has a zip64 locator that points to ${offset}, which is no end record`);
	if (offset + 12 + u64(record, 4, name) !== locatorOffset) throw bad(name, 'has a zip64 end record of the wrong size');
	if (record.getUint32(16, true) !== 0 || record.getUint32(20, true) !== 0) throw bad(name, 'is split over several disks');
	const count = u64(record, 32, name);
	if (u64(record, 24, name) !== count) throw bad(name, 'says two entry counts in its zip64 end record');
	const end = { count, size: u64(record, 40, name), offset: u64(record, 48, name), stop: offset };
	// A reader without zip64 takes the plain record: it must not see another archive.
	if (
		(plain.count !== 0xffff && plain.count !== end.count) ||
		(plain.size !== 0xffffffff && plain.size !== end.size) ||
		(plain.offset !== 0xffffffff && plain.offset !== end.offset)
	) {
		throw bad(name, 'has a plain and a zip64 end record that disagree');
	}
	return end;
}

/** A 64-bit little-endian number that must be exact in a double. */
export function u64(view: DataView, at: number, name: string): number {
	const value = view.getUint32(at + 4, true) * 0x1_0000_0000 + view.getUint32(at, true);
	if (!Number.isSafeInteger(value)) throw bad(name, `holds the size or offset ${view.getBigUint64(at, true)}, which no file can have`);
	return value;
}

function bad(name: string, what: string): FormatError {
	return new FormatError('E_ZIP', `The zip archive ${name} ${what}; fetch the file again or save it anew.`);
}
