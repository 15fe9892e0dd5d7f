import type { ByteSource } from '../byte-source.js';
import { FormatError, quote } from '../errors.js';
import { INFLATE_RATIO_FLOOR_BYTES, MAX_INFLATE_RATIO, MAX_INFLATED_STORAGE_BYTES } from '../limits.js';
import { u64, type ZipEnd } from './zip-read-end.js';

/** One entry, as the central directory describes it. */
export interface ZipEntry {
	readonly name: string;
	/** 0 stored, 8 deflated. */
	readonly method: 0 | 8;
	readonly flags: number;
	readonly crc: number;
	/** Bytes in the file. */
	readonly compressedSize: number;
	/** Bytes after inflating. */
	readonly size: number;
	/** Byte offset of the local header. */
	readonly localOffset: number;
	/** Name as bytes: the local header must have the same. */
	readonly nameBytes: Uint8Array;
}

/** Bits that change nothing about the bytes: deflate level (1, 2), data descriptor (3), UTF-8 name (11). */
const HARMLESS_FLAGS = 0b0000_1000_0000_1110;
/** Bits 0, 6 and 13: encryption, strong encryption, masked headers. */
const ENCRYPTION_FLAGS = 0b0010_0000_0100_0001;

/**
 * Read and check the central directory: every entry in it, in its order.
 *
 * @throws {FormatError} `E_ZIP`, `E_ZIP_ENCRYPTED`, `E_ZIP_METHOD`, `E_ZIP_NAME`, `E_ZIP_DUPLICATE`, `E_ZIP_MISMATCH`, `E_LIMIT`.
 */
export async function readZipDirectory(source: ByteSource, end: ZipEnd): Promise<ReadonlyMap<string, ZipEntry>> {
	const bytes = await source.read(end.offset, end.size);
	const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
	const entries = new Map<string, ZipEntry>();
	let at = 0;
	let inflated = 0;
	let deflated = 0;
	for (let k = 0; k < end.count; k++) {
		if (at + 46 > bytes.byteLength || view.getUint32(at, true) !== 0x02014b50) {
			throw new FormatError(
				'E_ZIP',
				`The zip directory of ${source.name} ends after ${k} of ${end.count} entries; the file is damaged, fetch it again.`,
			);
		}
		const next = at + 46 + view.getUint16(at + 28, true) + view.getUint16(at + 30, true) + view.getUint16(at + 32, true);
		if (next > bytes.byteLength) {
			throw new FormatError('E_ZIP', `Entry ${k} of the zip directory of ${source.name} reaches past its end; fetch the file again.`);
		}
		const entry = readEntry(bytes, view, at, source.name);
		if (entries.has(entry.name)) {
			throw new FormatError(
				'E_ZIP_DUPLICATE',
				`${source.name} has two zip entries named ${quote(entry.name)}; readers would pick different ones, so neither is used.`,
				{ at: entry.name },
			);
		}
		if (entry.method === 8) {
			checkRatio(entry.size, entry.compressedSize, `Zip entry ${quote(entry.name)}`, entry.name);
			inflated += entry.size;
			deflated += entry.compressedSize;
		}
		if (entry.localOffset + 30 + entry.nameBytes.byteLength + entry.compressedSize > end.offset) {
			throw new FormatError(
				'E_ZIP',
				`Zip entry ${quote(entry.name)} has ${entry.compressedSize} bytes at offset ${entry.localOffset}, which reach into the directory at ${end.offset}; fetch the file again.`,
				{ at: entry.name },
			);
		}
		entries.set(entry.name, entry);
		at = next;
	}
	if (at !== bytes.byteLength) {
		throw new FormatError(
			'E_ZIP',
			`The zip directory of ${source.name} has ${bytes.byteLength - at} bytes after its ${end.count} declared entries; readers would see different archives.`,
		);
	}
	checkRatio(inflated, deflated, `The deflated entries of ${source.name} together`, undefined, Number.POSITIVE_INFINITY);
	return entries;
}

function checkRatio(size: number, compressed: number, what: string, at: string | undefined, most = MAX_INFLATED_STORAGE_BYTES): void {
	if (size > most || (size > INFLATE_RATIO_FLOOR_BYTES && size > compressed * MAX_INFLATE_RATIO)) {
		throw new FormatError(
			'E_LIMIT',
			`${what} would inflate from ${compressed} to ${size} bytes; at most ${MAX_INFLATED_STORAGE_BYTES} bytes and ${MAX_INFLATE_RATIO} times are allowed. Save the file anew with torch.save.`,
			{ at },
		);
	}
}

function readEntry(bytes: Uint8Array, view: DataView, at: number, file: string): ZipEntry {
	const nameLength = view.getUint16(at + 28, true);
	const extraLength = view.getUint16(at + 30, true);
	const nameBytes = bytes.slice(at + 46, at + 46 + nameLength);
	const name = decodeName(nameBytes, file);
	const fail = (code: 'E_ZIP' | 'E_ZIP_ENCRYPTED' | 'E_ZIP_METHOD' | 'E_ZIP_MISMATCH' | 'E_ZIP_NAME', what: string): FormatError =>
		new FormatError(code, `Zip entry ${quote(name)} of ${file} ${what}.`, { at: name });
	const flags = view.getUint16(at + 8, true);
	const method = view.getUint16(at + 10, true);
	if (flags & ENCRYPTION_FLAGS) throw fail('E_ZIP_ENCRYPTED', 'is marked as encrypted; torch never writes such files');
	if (flags & ~HARMLESS_FLAGS) throw fail('E_ZIP', `has the flags 0x${flags.toString(16)}, some of which readers treat differently`);
	if (method !== 0 && method !== 8) {
		throw fail(
			'E_ZIP_METHOD',
			`uses compression method ${method}; only stored (0) and deflated (8) are read, zip the file again with one of them`,
		);
	}
	checkName(name, fail);
	if (view.getUint16(at + 34, true) !== 0) throw fail('E_ZIP', 'is said to lie on another disk');
	const madeBy = view.getUint8(at + 5);
	// Unix file type in the high half of the attributes: 0 (unset), regular or directory.
	const fileType = (view.getUint32(at + 38, true) >>> 28) & 15;
	if (madeBy === 3 && fileType !== 0 && fileType !== 8 && fileType !== 4) throw fail('E_ZIP', 'is no regular file but a link or device');
	// Some readers (zip.js) take the attributes' word that an entry is a directory, and then read nothing of it.
	const isDirectory = fileType === 4 || (view.getUint8(at + 38) & 0x10) !== 0;
	if (isDirectory && !name.endsWith('/')) throw fail('E_ZIP', 'is marked as a directory but named as a file');
	const extra = new DataView(view.buffer, view.byteOffset + at + 46 + nameLength, extraLength);
	const [size, compressedSize, localOffset] = widen(
		extra,
		[view.getUint32(at + 24, true), view.getUint32(at + 20, true), view.getUint32(at + 42, true)],
		file,
		(what) => fail('E_ZIP', what),
	) as [number, number, number];
	if (method === 0 && size !== compressedSize) {
		throw fail('E_ZIP_MISMATCH', `is stored, yet says ${compressedSize} bytes in the file and ${size} bytes of content`);
	}
	if (name.endsWith('/') && size !== 0) throw fail('E_ZIP', `is a directory with ${size} bytes of content`);
	return { name, method, flags, crc: view.getUint32(at + 16, true), compressedSize, size, localOffset, nameBytes };
}

/**
 * Replace the 32-bit fields that say "see zip64" (0xFFFFFFFF) by their 64-bit values from extra field 1, which
 * holds only those, in order.
 */
export function widen(extra: DataView, fields: readonly number[], file: string, fail: (what: string) => FormatError): number[] {
	let wide: { readonly at: number; readonly size: number } | undefined;
	for (let at = 0; at + 4 <= extra.byteLength; ) {
		const size = extra.getUint16(at + 2, true);
		if (at + 4 + size > extra.byteLength) throw fail('has an extra field that reaches past its end');
		const id = extra.getUint16(at, true);
		if (id === 1) {
			if (wide !== undefined) throw fail('has two zip64 fields');
			wide = { at: at + 4, size };
		}
		// Info-ZIP's second name: some readers use it instead of the first.
		if (id === 0x7075) throw fail('has a second, Unicode name beside its own; zip the file again without it');
		at += 4 + size;
	}
	let used = 0;
	return fields.map((value) => {
		if (value !== 0xffffffff) return value;
		if (wide === undefined || used + 8 > wide.size) throw fail('needs a zip64 size or offset and has none');
		const full = u64(extra, wide.at + used, file);
		used += 8;
		return full;
	});
}

function decodeName(bytes: Uint8Array, file: string): string {
	try {
		return new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes);
	} catch (cause) {
		throw new FormatError('E_ZIP_NAME', `${file} has a zip entry whose name is not UTF-8; zip the file again with plain names.`, { cause });
	}
}

function checkName(name: string, fail: (code: 'E_ZIP_NAME', what: string) => FormatError): void {
	const path = name.endsWith('/') ? name.slice(0, -1) : name;
	const parts = path.split('/');
	if (
		path === '' ||
		path.includes('\\') ||
		/^[A-Za-z]:/.test(path) ||
		hasControl(path) ||
		parts.some((part) => part === '' || part === '.' || part === '..')
	) {
		throw fail(
			'E_ZIP_NAME',
			'has a name that could point outside the archive (absolute, "..", backslash, control character or empty part)',
		);
	}
}

function hasControl(text: string): boolean {
	for (let k = 0; k < text.length; k++) {
		const c = text.charCodeAt(k);
		if (c < 32 || c === 127) return true;
	}
	return false;
}
