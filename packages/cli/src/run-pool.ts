/**
 * Run `work` over all items, at most `limit` at a time, in order of beginning. One thread: what overlaps is waiting,
 * above all for the disk to confirm what was written.
 *
 * @throws whatever `work` throws first; no further item is begun then.
 */
export async function runPool<T>(items: readonly T[], limit: number, work: (item: T) => Promise<void>): Promise<void> {
	let next = 0;
	const lane = async (): Promise<void> => {
		while (next < items.length) {
			const item = items[next++];
			if (item === undefined) continue;
			try {
				await work(item);
			} catch (error) {
				next = items.length;
				throw error;
			}
		}
	};
	await Promise.all(Array.from({ length: Math.min(limit, items.length) }, lane));
}
