import { HTTP_HEAD_BYTES, HTTP_WINDOW_BYTES, HTTP_WINDOWS } from './io-limits.js';

/** Fetches exactly `length` bytes from `offset`. */
export type RangeFetch = (offset: number, length: number) => Promise<Uint8Array>;

interface Window {
	readonly start: number;
	readonly end: number;
	readonly bytes: Promise<Uint8Array>;
}

/**
 * Reads over a slow source through a few windows, so that the many small reads of a reader cost few requests: a
 * read that misses fetches more than it needs, more each time as long as reads go forward, up to
 * `HTTP_WINDOW_BYTES`; and in a forward run the next window is fetched while this one is used.
 *
 * Memory: the first window (kept, it holds the header) and `HTTP_WINDOWS` others.
 */
export function createRangeCache(size: number, head: Uint8Array, fetchRange: RangeFetch): RangeFetch {
	const first: Window = { start: 0, end: head.byteLength, bytes: Promise.resolve(head) };
	/** Least recently used first. */
	const windows: Window[] = [];
	let ahead = HTTP_HEAD_BYTES;
	let frontier = head.byteLength;

	function find(offset: number): Window | undefined {
		if (offset < first.end) return first;
		const at = windows.findIndex((w) => offset >= w.start && offset < w.end);
		if (at < 0) return undefined;
		const [hit] = windows.splice(at, 1);
		if (hit !== undefined) windows.push(hit);
		return hit;
	}

	function open(start: number, length: number): Window {
		const bytes = fetchRange(start, length);
		const window: Window = { start, end: start + length, bytes };
		// A window that failed must not be found again; who awaits it sees the error.
		bytes.catch(() => {
			const at = windows.indexOf(window);
			if (at >= 0) windows.splice(at, 1);
		});
		windows.push(window);
		if (windows.length > HTTP_WINDOWS) windows.shift();
		return window;
	}

	function miss(offset: number, needed: number): Window {
		const forward = offset === frontier;
		ahead = forward ? Math.min(ahead * 2, HTTP_WINDOW_BYTES) : HTTP_HEAD_BYTES;
		// Up to the next window that is there already, so that nothing is fetched twice.
		let stop = size;
		for (const w of windows) if (w.start > offset && w.start < stop) stop = w.start;
		const length = Math.min(Math.max(needed, ahead), HTTP_WINDOW_BYTES, stop - offset);
		// A large read that goes forward is a run of large reads, most likely.
		if (forward) ahead = Math.max(ahead, length);
		frontier = offset + length;
		return open(offset, length);
	}

	/** In a forward run with large windows: the one after `window` is asked for before it is needed. */
	function prefetch(window: Window): void {
		if (ahead < HTTP_WINDOW_BYTES / 4 || window.end !== frontier || window.end >= size) return;
		const length = Math.min(HTTP_WINDOW_BYTES, size - window.end);
		if (windows.some((w) => w.start < window.end + length && w.end > window.end)) return;
		frontier = window.end + length;
		open(window.end, length);
	}

	return async (offset, length) => {
		const out = new Uint8Array(length);
		let done = 0;
		while (done < length) {
			const at = offset + done;
			const window = find(at) ?? miss(at, length - done);
			prefetch(window);
			const bytes = await window.bytes;
			const from = at - window.start;
			const take = Math.min(length - done, window.end - at);
			out.set(bytes.subarray(from, from + take), done);
			done += take;
		}
		return out;
	};
}
