import { pairKey, type Vocabulary } from './read-vocabulary.js';

const encoder = new TextEncoder();
/** Places in a word must fit below this in one number with a rank. */
const PLACES = 2 ** 21;

/**
 * Ids of one word by byte-pair encoding: of all neighbouring pairs the one of lowest rank is merged, the leftmost
 * first, until none is left. A heap of candidates keeps this at n log n, so that one word of 100,000 letters is no
 * trap. A byte that the vocabulary lacks becomes `unknown`.
 */
export function mergeWord(vocabulary: Vocabulary, word: string, unknown: number): number[] {
	const bytes = encoder.encode(word);
	const length = bytes.length;
	const ids = Array.from(bytes, (byte, i) => (i === length - 1 ? vocabulary.lastBytes : vocabulary.bytes)[byte] ?? unknown);
	if (length < 2) return ids;

	const { ranks, merged } = vocabulary;
	const next = Int32Array.from(ids, (_, i) => i + 1);
	const previous = Int32Array.from(ids, (_, i) => i - 1);
	const heap: number[] = [];
	const rankAt = (place: number): number | undefined => {
		const after = next[place] ?? length;
		return after >= length ? undefined : ranks.get(pairKey(ids[place] ?? 0, ids[after] ?? 0));
	};
	const offer = (place: number): void => {
		const rank = place < 0 ? undefined : rankAt(place);
		if (rank !== undefined) push(heap, rank * PLACES + place);
	};
	for (let i = 0; i < length - 1; i++) offer(i);

	for (let best = pop(heap); best !== undefined; best = pop(heap)) {
		const place = best % PLACES;
		const rank = (best - place) / PLACES;
		// Stale: the place was merged away or its pair is another one by now.
		if (ids[place] === -1 || rankAt(place) !== rank) continue;
		const gone = next[place] ?? length;
		const after = next[gone] ?? length;
		ids[place] = merged[rank] ?? unknown;
		ids[gone] = -1;
		next[place] = after;
		if (after < length) previous[after] = place;
		offer(place);
		offer(previous[place] ?? -1);
	}
	return ids.filter((id) => id !== -1);
}

/** Binary heap, the least at the root. */
function push(heap: number[], value: number): void {
	let at = heap.length;
	heap.push(value);
	while (at > 0) {
		const parent = (at - 1) >> 1;
		const above = heap[parent] ?? 0;
		if (above <= value) break;
		heap[at] = above;
		at = parent;
	}
	heap[at] = value;
}

function pop(heap: number[]): number | undefined {
	const least = heap[0];
	const last = heap.pop();
	if (last === undefined || heap.length === 0) return least;
	let at = 0;
	for (;;) {
		let child = 2 * at + 1;
		if (child >= heap.length) break;
		if ((heap[child + 1] ?? Number.POSITIVE_INFINITY) < (heap[child] ?? 0)) child++;
		const below = heap[child] ?? 0;
		if (below >= last) break;
		heap[at] = below;
		at = child;
	}
	heap[at] = last;
	return least;
}
