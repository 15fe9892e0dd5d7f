import type { Hasher, HasherFactory, Tensor } from '@lorakit/format';

/** Digests of tensors that lie in one file, taken from its bytes as they go by. */
export interface TensorDigests {
	/** Bytes of the file from an offset on. Pieces come in order; a tensor that one jumps over has no digest. */
	update(offset: number, bytes: Uint8Array): void;
	/** SHA-256 of those tensors that were seen whole. To be asked once, at the end. */
	digests(): ReadonlyMap<Tensor, string>;
}

interface Watched {
	readonly tensor: Tensor;
	readonly hasher: Hasher;
	readonly end: number;
	/** Where its next byte lies. */
	at: number;
}

/** @param tensors with a `range`, all of one source; others are left out */
export function createTensorDigests(tensors: Iterable<Tensor>, createHasher: HasherFactory): TensorDigests {
	const all: Watched[] = [];
	for (const tensor of tensors) {
		const { range, nbytes } = tensor;
		if (range !== undefined) all.push({ tensor, hasher: createHasher(), at: range.offset, end: range.offset + nbytes });
	}
	let waiting = [...all].sort((a, b) => a.at - b.at);
	return {
		update(offset, bytes) {
			const end = offset + bytes.byteLength;
			let finished = false;
			for (const watched of waiting) {
				if (watched.at >= end) break;
				// What was jumped over stays behind the pieces that follow.
				if (watched.at < offset) continue;
				const to = Math.min(watched.end, end);
				watched.hasher.update(bytes.subarray(watched.at - offset, to - offset));
				watched.at = to;
				finished ||= to === watched.end;
			}
			// Two tensors may share bytes, as in torch's files, so that a later one can end first.
			if (finished) waiting = waiting.filter((watched) => watched.at < watched.end);
		},
		digests: () => new Map(all.flatMap(({ tensor, hasher, at, end }) => (at === end ? [[tensor, hasher.digestHex()] as const] : []))),
	};
}
