/** Memory that is used again. */
export interface BufferPool {
	/** Exactly `length` bytes, content undefined; waits until there is room. */
	take(length: number): Promise<Uint8Array>;
	/** Back, by the view that `take` gave. */
	give(bytes: Uint8Array): void;
}

/**
 * A pool that lends at most `budget` bytes at a time (one larger loan is granted when nothing else is out).
 * Buffers of `standard` bytes are kept; larger ones go back to the system.
 * @param shared whether standard buffers are memory that another thread can see (for hashing)
 */
export function createBufferPool(budget: number, standard: number, shared: boolean): BufferPool {
	const make = (bytes: number): ArrayBufferLike => (shared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes));
	const free: ArrayBufferLike[] = [];
	const waiting: (() => void)[] = [];
	let lent = 0;

	const cost = (length: number): number => Math.max(length, standard);
	return {
		async take(length) {
			while (lent > 0 && lent + cost(length) > budget) await new Promise<void>((resolve) => waiting.push(resolve));
			lent += cost(length);
			// Never shared: the other thread would hold on to it until its own garbage collector runs.
			if (length > standard) return new Uint8Array(length);
			return new Uint8Array(free.pop() ?? make(standard), 0, length);
		},
		give(bytes) {
			lent -= cost(bytes.byteLength);
			const { buffer } = bytes;
			if (buffer.byteLength === standard) free.push(buffer);
			for (const wake of waiting.splice(0)) wake();
		},
	};
}
