import type { ByteSource } from '../byte-source.js';
import { byteLength, type DType, dtypeBits, numel } from '../dtype.js';
import { FormatError, quote } from '../errors.js';
import { countBytes, groupDigits } from '../group-digits.js';
import { MAX_HEADER_BYTES } from '../limits.js';
import { isSmall, readSmallValues } from '../small-values.js';
import type { StateDict } from '../state-dict.js';
import type { Tensor } from '../tensor.js';
import type { ReadOptions } from './container.js';
import { type HeaderEntry, scanHeader } from './header-scan.js';

/**
 * Read a safetensors file: its header, and the small values unless `options.values` (default: not remote) says no.
 * Tensors stay where they are and come in the order of their data, entries with the same range in header order.
 *
 * Every rule of huggingface/safetensors@24b0b28 safetensors/src/tensor.rs is checked (no holes, no overlaps,
 * nothing behind the last tensor, sizes as dtype and shape say) and what its reader loses silently is refused too.
 *
 * @param head bytes from offset 0 that were read already (by the sniffer), so that they are not fetched twice.
 * @throws {FormatError} `E_EMPTY`, `E_TRUNCATED`, `E_HEADER_TOO_LARGE`, those of `scanHeader`, `E_OVERFLOW`,
 *   `E_OVERLAP`, `E_HOLE`, `E_TRAILING`, and what the source throws.
 */
export async function readSafetensors(source: ByteSource, options: ReadOptions = {}, head?: Uint8Array): Promise<StateDict> {
	const { size } = source;
	if (size === 0) throw new FormatError('E_EMPTY', 'The file is empty (0 bytes); fetch it again.');
	if (size < 8) {
		throw new FormatError(
			'E_TRUNCATED',
			`The file has ${size} bytes, but a safetensors file begins with a length of 8 bytes; fetch it again.`,
		);
	}
	const headerBytes = headerLength(await readPart(source, 0, 8, head));
	if (headerBytes > size - 8) {
		throw new FormatError(
			'E_TRUNCATED',
			`The file is cut short: it announces a header of ${countBytes(headerBytes)}, but only ${groupDigits(size - 8)} follow; fetch it again.`,
		);
	}
	const { entries, metadata, warnings } = scanHeader(await readPart(source, 8, headerBytes, head));
	const dataOffset = 8 + headerBytes;
	const ordered = byDataOffset(entries);
	checkEntries(ordered, size - dataOffset);

	const tensors = new Map<string, Tensor>();
	for (const { name, dtype, shape, begin, end } of ordered)
		tensors.set(name, tensorAt(source, dtype, shape, dataOffset + begin, end - begin, name));
	const values = options.values ?? !source.remote;
	return {
		container: 'safetensors',
		name: source.name,
		tensors,
		metadata,
		top: 'dict',
		wrapper: undefined,
		nonTensors: [],
		small: values ? await readSmallValues(tensors) : new Map(),
		smallComplete: values || !hasSmall(tensors),
		warnings,
	};
}

/** `rangeTensor` of a size that `checkEntries` has found right. */
function tensorAt(source: ByteSource, dtype: DType, shape: readonly number[], offset: number, nbytes: number, origin: string): Tensor {
	return { dtype, shape, nbytes, origin, derivation: undefined, range: { source, offset }, read: () => source.read(offset, nbytes) };
}

async function readPart(source: ByteSource, offset: number, length: number, head: Uint8Array | undefined): Promise<Uint8Array> {
	if (head !== undefined && offset + length <= head.byteLength) return head.subarray(offset, offset + length);
	return source.read(offset, length);
}

/** The u64 at the start of the file. @throws {FormatError} `E_HEADER_TOO_LARGE` above the format's own cap of 100,000,000. */
function headerLength(bytes: Uint8Array): number {
	const length = new DataView(bytes.buffer, bytes.byteOffset, 8).getBigUint64(0, true);
	if (length > BigInt(MAX_HEADER_BYTES)) {
		throw new FormatError(
			'E_HEADER_TOO_LARGE',
			`The first 8 bytes announce a header of ${countBytes(length)}, but safetensors allows ${groupDigits(MAX_HEADER_BYTES)}; this is no safetensors file, or it is damaged.`,
		);
	}
	return Number(length);
}

/** Sorted by (begin, end), stable. Writers put the header in this order, so nearly always nothing moves. */
function byDataOffset(entries: readonly HeaderEntry[]): readonly HeaderEntry[] {
	const compare = (a: HeaderEntry, b: HeaderEntry): number => a.begin - b.begin || a.end - b.end;
	for (let i = 1; i < entries.length; i++) {
		const before = entries[i - 1];
		const here = entries[i];
		if (before !== undefined && here !== undefined && compare(before, here) > 0) return [...entries].sort(compare);
	}
	return entries;
}

/** `ordered`: by data offset. `available`: bytes behind the header. */
function checkEntries(ordered: readonly HeaderEntry[], available: number): void {
	let covered = 0;
	let previous: HeaderEntry | undefined;
	for (const entry of ordered) {
		checkRange(entry);
		if (entry.begin < covered) throw overlap(entry, previous, covered);
		if (entry.begin > covered) throw hole(entry, previous, covered);
		covered = entry.end;
		// An empty tensor covers nothing: the one before it stays the neighbour to name.
		if (entry.end > entry.begin) previous = entry;
	}
	if (covered > available) {
		throw new FormatError(
			'E_TRUNCATED',
			`The file is ${countBytes(covered - available)} short: the header promises ${countBytes(covered)} of data, ${groupDigits(available)} are there; fetch it again.`,
		);
	}
	if (covered < available) {
		throw new FormatError(
			'E_TRAILING',
			`Behind the last tensor there is ${countBytes(available - covered)} too much: the header describes ${countBytes(covered)} of data, ${groupDigits(available)} are there; something was appended, or the header is damaged.`,
		);
	}
}

function checkRange(entry: HeaderEntry): void {
	const { name, dtype, shape, begin, end } = entry;
	if (end < begin) {
		throw new FormatError(
			'E_OFFSETS',
			`The data of tensor ${quote(name)} ends at byte ${groupDigits(end)}, before it begins at ${groupDigits(begin)}.`,
			{ at: name },
		);
	}
	const nbytes = byteLength(dtype, shape);
	if (nbytes === undefined) throw noByteCount(entry);
	if (nbytes !== end - begin) {
		throw new FormatError(
			'E_SHAPE',
			`Tensor ${quote(name)} of dtype ${dtype} and shape (${shape.join(', ')}) needs ${countBytes(nbytes)}, but its data_offsets span ${groupDigits(end - begin)}.`,
			{ at: name },
		);
	}
}

function noByteCount({ name, dtype, shape }: HeaderEntry): FormatError {
	const count = numel(shape);
	const bits = dtypeBits(dtype);
	if (count !== undefined && Number.isSafeInteger(count * bits)) {
		return new FormatError(
			'E_SHAPE',
			`Tensor ${quote(name)} of dtype ${dtype} and shape (${shape.join(', ')}) has ${groupDigits(count)} elements of ${bits} bits, which is no whole number of bytes.`,
			{ at: name },
		);
	}
	return new FormatError(
		'E_OVERFLOW',
		`The size of tensor ${quote(name)} of dtype ${dtype} and shape (${shape.join(', ')}) is beyond 2^53 bytes; no file is that large.`,
		{ at: name },
	);
}

function overlap(entry: HeaderEntry, previous: HeaderEntry | undefined, covered: number): FormatError {
	return new FormatError(
		'E_OVERLAP',
		`Tensor ${quote(entry.name)} begins at data byte ${groupDigits(entry.begin)}, inside tensor ${quote(previous?.name ?? '')}, which ends at ${groupDigits(covered)}.`,
		{ at: entry.name },
	);
}

function hole(entry: HeaderEntry, previous: HeaderEntry | undefined, covered: number): FormatError {
	const where = previous === undefined ? 'Before' : `Between tensor ${quote(previous.name)} and`;
	return new FormatError(
		'E_HOLE',
		`${where} tensor ${quote(entry.name)} there is a hole of ${countBytes(entry.begin - covered)} at data byte ${groupDigits(covered)}; every byte must belong to a tensor.`,
		{ at: entry.name },
	);
}

function hasSmall(tensors: ReadonlyMap<string, Tensor>): boolean {
	for (const tensor of tensors.values()) if (isSmall(tensor)) return true;
	return false;
}
