/** Names longer than this are not compared. */
const MAX_LENGTH = 300;
/** Candidates looked at. */
const MAX_CANDIDATES = 5000;

/**
 * The candidate with the smallest edit distance to `name`, when at most a quarter of the name differs; undefined
 * otherwise. Bounded work: long names and long lists are cut.
 */
export function nearestName(name: string, candidates: Iterable<string>): string | undefined {
	if (name.length > MAX_LENGTH) return undefined;
	let best: string | undefined;
	let limit = Math.floor(name.length / 4) + 1;
	let looked = 0;
	for (const candidate of candidates) {
		if (++looked > MAX_CANDIDATES) break;
		if (candidate.length > MAX_LENGTH || Math.abs(candidate.length - name.length) >= limit) continue;
		const distance = editDistance(name, candidate, limit);
		if (distance < limit) {
			best = candidate;
			limit = distance;
			if (distance <= 1) break;
		}
	}
	return best;
}

/** Levenshtein distance, or `limit` when it is at least that. */
function editDistance(a: string, b: string, limit: number): number {
	let begin = 0;
	let endA = a.length;
	let endB = b.length;
	while (begin < endA && begin < endB && a.charCodeAt(begin) === b.charCodeAt(begin)) begin++;
	while (endA > begin && endB > begin && a.charCodeAt(endA - 1) === b.charCodeAt(endB - 1)) {
		endA--;
		endB--;
	}
	const width = endB - begin;
	let row = Array.from({ length: width + 1 }, (_, j) => j);
	for (let i = begin; i < endA; i++) {
		const next = [i - begin + 1];
		let least = next[0] ?? 0;
		for (let j = 0; j < width; j++) {
			const same = a.charCodeAt(i) === b.charCodeAt(begin + j);
			const value = same ? (row[j] ?? 0) : 1 + Math.min(row[j] ?? 0, row[j + 1] ?? 0, next[j] ?? 0);
			next.push(value);
			least = Math.min(least, value);
		}
		if (least >= limit) return limit;
		row = next;
	}
	return Math.min(row[width] ?? limit, limit);
}
