/** Names in one list only, each side in the expected file's order. */
export interface NameDifference {
	readonly missing: readonly string[];
	readonly extra: readonly string[];
}

export function compareNames(expected: Iterable<string>, got: Iterable<string>): NameDifference {
	const wanted = new Set(expected);
	const had = new Set(got);
	return { missing: [...wanted].filter((n) => !had.has(n)), extra: [...had].filter((n) => !wanted.has(n)) };
}
