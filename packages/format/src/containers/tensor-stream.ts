import type { ByteSource } from '../byte-source.js';
import { COPY_CHUNK_BYTES } from '../limits.js';
import { type RangeRequest, readRanges } from '../range-reads.js';
import type { Tensor } from '../tensor.js';

/** Tensors, or runs of tensors that lie one behind the other, of at least this size are copied chunk by chunk. */
const STREAM_BYTES = 1024 * 1024;

/** Bytes to emit next: a run in a source, or a tensor that must be computed. */
type Segment =
	| { readonly kind: 'run'; readonly source: ByteSource; readonly offset: number; length: number }
	| { readonly kind: 'made'; readonly tensor: Tensor; readonly length: number };

/** One piece of output. `prefetch`: it may be fetched while the one before is being written. */
interface Piece {
	readonly prefetch: boolean;
	fetch(): Promise<Uint8Array>;
}

/**
 * The bytes of tensors one behind the other, in pieces of at most about `COPY_CHUNK_BYTES` (a computed tensor is
 * one piece), the next piece being read while the caller writes the last. Tensors that are neighbours in one source
 * are read together; small ones are gathered, near ones by one read.
 */
export async function* tensorStream(tensors: Iterable<Tensor>): AsyncGenerator<Uint8Array, void, undefined> {
	let ahead: Promise<Uint8Array> | undefined;
	try {
		for (const piece of pieces(segments(tensors))) {
			const last = ahead;
			ahead = piece.prefetch ? piece.fetch() : undefined;
			// A failure is seen when the piece is awaited, not by the process.
			ahead?.catch(() => {});
			if (last !== undefined) yield await last;
			if (!piece.prefetch) yield await piece.fetch();
		}
		if (ahead !== undefined) {
			const last = ahead;
			ahead = undefined;
			yield await last;
		}
	} finally {
		// The caller stopped early: let the read under way end before the source is closed.
		await ahead?.catch(() => {});
	}
}

/** Neighbours in one source become one run. */
function* segments(tensors: Iterable<Tensor>): Generator<Segment, void, undefined> {
	let run: Extract<Segment, { kind: 'run' }> | undefined;
	for (const tensor of tensors) {
		if (tensor.nbytes === 0) continue;
		const { range } = tensor;
		if (range === undefined) {
			if (run !== undefined) yield run;
			run = undefined;
			yield { kind: 'made', tensor, length: tensor.nbytes };
		} else if (run !== undefined && run.source === range.source && run.offset + run.length === range.offset) {
			run.length += tensor.nbytes;
		} else {
			if (run !== undefined) yield run;
			run = { kind: 'run', source: range.source, offset: range.offset, length: tensor.nbytes };
		}
	}
	if (run !== undefined) yield run;
}

function* pieces(list: Iterable<Segment>): Generator<Piece, void, undefined> {
	let batch: Segment[] = [];
	let bytes = 0;
	for (const segment of list) {
		const stream = segment.length >= STREAM_BYTES;
		if (batch.length > 0 && (stream || bytes + segment.length > COPY_CHUNK_BYTES)) {
			yield gathered(batch, bytes);
			batch = [];
			bytes = 0;
		}
		if (!stream) {
			batch.push(segment);
			bytes += segment.length;
		} else if (segment.kind === 'made') yield { prefetch: false, fetch: () => segment.tensor.read() };
		else {
			const { source, offset, length } = segment;
			for (let done = 0; done < length; done += COPY_CHUNK_BYTES) {
				const at = offset + done;
				const part = Math.min(COPY_CHUNK_BYTES, length - done);
				yield { prefetch: true, fetch: () => source.read(at, part) };
			}
		}
	}
	if (batch.length > 0) yield gathered(batch, bytes);
}

/** Many small segments as one piece. */
function gathered(batch: readonly Segment[], bytes: number): Piece {
	return {
		prefetch: true,
		async fetch() {
			const out = new Uint8Array(bytes);
			const requests: RangeRequest[] = [];
			const places: number[] = [];
			let at = 0;
			for (const segment of batch) {
				if (segment.kind === 'made') out.set(await segment.tensor.read(), at);
				else {
					requests.push(segment);
					places.push(at);
				}
				at += segment.length;
			}
			await readRanges(requests, (i, part) => out.set(part, places[i] ?? 0));
			return out;
		},
	};
}
