/** Things that cost much to make and much memory to keep: the ones used last. */
export interface RecentCache<T> {
	/** The value of a key, made when it is not there. Two calls at once make it once. What `make` throws is not kept. */
	get(key: string, make: () => Promise<T>): Promise<T>;
	/** The value of a key, if it is there. */
	peek(key: string): Promise<T> | undefined;
	drop(key: string): void;
	clear(): void;
}

/**
 * Keeps values up to `capacity` bytes, and the one used last whatever its size.
 * @param sizeOf bytes of a value in memory
 */
export function createRecentCache<T>(capacity: number, sizeOf: (value: T) => number): RecentCache<T> {
	// A Map remembers the order of insertion: the first is the one not used for longest.
	const entries = new Map<string, { readonly value: Promise<T>; size: number }>();
	let total = 0;

	function drop(key: string): void {
		total -= entries.get(key)?.size ?? 0;
		entries.delete(key);
	}

	function shrink(): void {
		for (const key of entries.keys()) {
			if (total <= capacity || entries.size <= 1) return;
			drop(key);
		}
	}

	function peek(key: string): Promise<T> | undefined {
		const known = entries.get(key);
		if (known === undefined) return undefined;
		entries.delete(key);
		entries.set(key, known);
		return known.value;
	}

	return {
		peek,
		drop,
		get(key, make) {
			const known = peek(key);
			if (known !== undefined) return known;
			const entry = { value: make(), size: 0 };
			entries.set(key, entry);
			entry.value.then(
				(value) => {
					if (entries.get(key) !== entry) return;
					entry.size = sizeOf(value);
					total += entry.size;
					shrink();
				},
				() => {
					if (entries.get(key) === entry) drop(key);
				},
			);
			return entry.value;
		},
		clear() {
			entries.clear();
			total = 0;
		},
	};
}
