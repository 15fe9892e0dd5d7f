import type { ByteSource } from './byte-source.js';

/** Bytes that are wanted. */
export interface RangeRequest {
	readonly source: ByteSource;
	readonly offset: number;
	readonly length: number;
}

/** Wanted ranges that lie no further apart than this are fetched by one read. */
export const READ_GAP_BYTES: number = 64 * 1024;
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

/**
 * Fetch many ranges with few reads: near ones are joined. `receive(i, bytes)` is called once for each request
 * `i`, in no particular order; `bytes` is a view that must not be kept beyond the call.
 * At most `CONCURRENT_READS` joined reads are in memory at a time.
 */
export async function readRanges(requests: readonly RangeRequest[], receive: (index: number, bytes: Uint8Array) => void): Promise<void> {
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
		const groups = join(source, indices, requests);
		let next = 0;
		const work = async (): Promise<void> => {
			for (let group = groups[next++]; group !== undefined; group = groups[next++]) {
				const bytes = await source.read(group.begin, group.end - group.begin);
				for (let k = group.from; k < group.to; k++) {
					const index = indices[k] ?? 0;
					const request = requests[index];
					if (request === undefined) continue;
					const at = request.offset - group.begin;
					receive(index, bytes.subarray(at, at + request.length));
				}
			}
		};
		await Promise.all(Array.from({ length: Math.min(CONCURRENT_READS, groups.length) }, work));
	}
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

function join(source: ByteSource, indices: readonly number[], requests: readonly RangeRequest[]): Group[] {
	const groups: Group[] = [];
	let group: Group | undefined;
	for (let k = 0; k < indices.length; k++) {
		const request = requests[indices[k] ?? 0];
		if (request === undefined) continue;
		const end = request.offset + request.length;
		if (
			group !== undefined &&
			request.offset - group.end <= READ_GAP_BYTES &&
			Math.max(end, group.end) - group.begin <= MAX_JOINED_READ_BYTES
		) {
			group.end = Math.max(group.end, end);
			group.to = k + 1;
		} else {
			group = { source, begin: request.offset, end, from: k, to: k + 1 };
			groups.push(group);
		}
	}
	return groups;
}
