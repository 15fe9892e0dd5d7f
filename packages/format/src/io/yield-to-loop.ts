import { YIELD_MS } from './io-limits.js';

/**
 * Let timers and signals run now and then. Synchronous file calls are the fastest, but a long row of them keeps
 * Ctrl-C waiting: awaiting a finished promise runs no signal handler. Call the result after each piece of work.
 */
export function createYield(): () => Promise<void> {
	let last = performance.now();
	return async () => {
		if (performance.now() - last < YIELD_MS) return;
		await new Promise<void>((resolve) => setImmediate(resolve));
		last = performance.now();
	};
}
