import type { ByteSource } from './byte-source.js';

/** Bytes that are wanted. */
export interface RangeRequest {
	readonly source: ByteSource;
	readonly offset: number;
	readonly length: number;
}

/** A source that can fill a buffer at once, without waiting: a local file. */
export interface InstantSource extends ByteSource {
	/** Fill `target` from `offset`, before it returns. @throws {FormatError} as `read`. */
	fillNow(offset: number, target: Uint8Array): void;
}

/** Wanted ranges that lie no further apart than this are fetched by one read. */
export const READ_GAP_BYTES: number = 64 * 1024;
/**
 * The same for an instant source. Measured on Linux, from the page cache: a call costs as much as copying 16 KiB that
 * no cache of the processor holds, or 50 KiB that one does.
 */
const INSTANT_GAP_BYTES = 32 * 1024;
/** Size of the one buffer that instant sources fill again and again: memory that is fresh costs ten times the copying. */
const INSTANT_BUFFER_BYTES = 128 * 1024;
/** After this many instant reads one is awaited, so that signals get their turn. */
const INSTANT_READS_AT_ONCE = 1024;
/** Joined reads grow to at most this (a single longer request is still read whole). */
export const MAX_JOINED_READ_BYTES: number = 8 * 1024 * 1024;
/** Reads that are under way at one time. */
const CONCURRENT_READS = 8;

interface Group {
	readonly source: ByteSource;
	readonly begin: number;
	end: number;
	/** Indices into the sorted order: from (inclusive) to (exclusive). */
	readonly from: number;
	to: number;
}

/** Takes what was wanted by request `index`: it begins at `at` in `bytes`, which must not be kept beyond the call. */
export type JoinedReceiver = (index: number, bytes: Uint8Array, at: number) => void;

/**
 * Fetch many ranges with few reads: near ones are joined. `receive(i, bytes)` is called once for each request
 * `i`, in no particular order; `bytes` is a view that must not be kept beyond the call.
 * At most `CONCURRENT_READS` joined reads are in memory at a time.
 */
export async function readRanges(requests: readonly RangeRequest[], receive: (index: number, bytes: Uint8Array) => void): Promise<void> {
	await readJoined(requests, (i, bytes, at) => receive(i, bytes.subarray(at, at + (requests[i]?.length ?? 0))));
}

/** `readRanges` without a view for every request: what is wanted stands somewhere in the bytes of the joined read. */
export async function readJoined(requests: readonly RangeRequest[], receive: JoinedReceiver): Promise<void> {
	const bySource = new Map<ByteSource, number[]>();
	for (let i = 0; i < requests.length; i++) {
		const request = requests[i];
		if (request === undefined) continue;
		const list = bySource.get(request.source);
		if (list === undefined) bySource.set(request.source, [i]);
		else list.push(i);
	}
	for (const [source, indices] of bySource) {
		sortByOffset(indices, requests);
		const instant = isInstant(source);
		const groups = instant
			? join(source, indices, requests, INSTANT_GAP_BYTES, INSTANT_BUFFER_BYTES)
			: join(source, indices, requests, READ_GAP_BYTES, MAX_JOINED_READ_BYTES);
		const hand = (group: Group, bytes: Uint8Array): void => {
			for (let k = group.from; k < group.to; k++) {
				const index = indices[k] ?? 0;
				const request = requests[index];
				if (request === undefined) continue;
				receive(index, bytes, request.offset - group.begin);
			}
		};
		if (instant) await readInstantly(source, groups, hand);
		else await readConcurrently(source, groups, hand);
	}
}

async function readConcurrently(
	source: ByteSource,
	groups: readonly Group[],
	hand: (group: Group, bytes: Uint8Array) => void,
): Promise<void> {
	let next = 0;
	const work = async (): Promise<void> => {
		for (let group = groups[next++]; group !== undefined; group = groups[next++]) {
			hand(group, await source.read(group.begin, group.end - group.begin));
		}
	};
	await Promise.all(Array.from({ length: Math.min(CONCURRENT_READS, groups.length) }, work));
}

async function readInstantly(
	source: InstantSource,
	groups: readonly Group[],
	hand: (group: Group, bytes: Uint8Array) => void,
): Promise<void> {
	let buffer: Uint8Array | undefined;
	let n = 0;
	for (const group of groups) {
		const length = group.end - group.begin;
		if (length > INSTANT_BUFFER_BYTES || ++n % INSTANT_READS_AT_ONCE === 0) {
			hand(group, await source.read(group.begin, length));
			continue;
		}
		buffer ??= takeBuffer();
		const bytes = buffer.subarray(0, length);
		source.fillNow(group.begin, bytes);
		hand(group, bytes);
	}
	if (buffer !== undefined) idle = buffer;
}

/** The buffer while nobody fills it: a second reading that begins meanwhile has its own. */
let idle: Uint8Array | undefined;

function takeBuffer(): Uint8Array {
	const buffer = idle ?? new Uint8Array(INSTANT_BUFFER_BYTES);
	idle = undefined;
	return buffer;
}

function isInstant(source: ByteSource): source is InstantSource {
	return 'fillNow' in source && typeof source.fillNow === 'function';
}

/** Files are nearly always in order already, and then nothing is sorted. */
function sortByOffset(indices: number[], requests: readonly RangeRequest[]): void {
	const offset = (i: number | undefined): number => (i === undefined ? 0 : (requests[i]?.offset ?? 0));
	for (let k = 1; k < indices.length; k++) {
		if (offset(indices[k - 1]) > offset(indices[k])) {
			indices.sort((a, b) => offset(a) - offset(b));
			return;
		}
	}
}

function join(source: ByteSource, indices: readonly number[], requests: readonly RangeRequest[], gap: number, most: number): Group[] {
	const groups: Group[] = [];
	let group: Group | undefined;
	for (let k = 0; k < indices.length; k++) {
		const request = requests[indices[k] ?? 0];
		if (request === undefined) continue;
		const end = request.offset + request.length;
		if (group !== undefined && request.offset - group.end <= gap && Math.max(end, group.end) - group.begin <= most) {
			group.end = Math.max(group.end, end);
			group.to = k + 1;
		} else {
			group = { source, begin: request.offset, end, from: k, to: k + 1 };
			groups.push(group);
		}
	}
	return groups;
}
