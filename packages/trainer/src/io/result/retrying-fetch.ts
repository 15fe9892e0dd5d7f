/** Tries of a request that may be sent again. */
const TRIES = 4;
/** Wait before the second, in ms; it doubles each time. */
const BACKOFF_MS = 500;
/** Longest wait, in ms, also when the server asks for more. */
const MAX_WAIT_MS = 30_000;

/**
 * `fetch` that tries again what can be sent twice without harm: reading, asking where files go, sending their bytes. Making a
 * repository and committing are sent once. Broken connections, 429 and 5xx are tried again.
 */
export function retryingFetch(send: typeof fetch, signal: AbortSignal | undefined, backoffMs: number = BACKOFF_MS): typeof fetch {
	return async (input, init) => {
		const url = input instanceof Request ? input.url : String(input);
		const once = init?.method === 'POST' && !/\/(?:preupload|info\/lfs)\//.test(url);
		for (let attempt = 1; ; attempt++) {
			const last = once || attempt === TRIES;
			let wait = backoffMs * 2 ** (attempt - 1);
			try {
				const response = await send(input, { ...init, ...(init?.signal == null && signal !== undefined ? { signal } : {}) });
				if (last || (response.status !== 429 && response.status < 500)) return response;
				const asked = Number(response.headers.get('retry-after') ?? Number.NaN) * 1000;
				if (Number.isFinite(asked) && asked >= 0) wait = Math.max(asked, backoffMs);
				await response.body?.cancel();
			} catch (error) {
				if (last || signal?.aborted === true || (error instanceof Error && error.name === 'AbortError')) throw error;
			}
			await pause(Math.min(wait, MAX_WAIT_MS), signal);
		}
	};
}

function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
	return new Promise((resolve, reject) => {
		const stop = (): void => {
			clearTimeout(timer);
			reject(new DOMException('Aborted', 'AbortError'));
		};
		const timer = setTimeout(() => {
			signal?.removeEventListener('abort', stop);
			resolve();
		}, ms);
		signal?.addEventListener('abort', stop, { once: true });
		if (signal?.aborted === true) stop();
	});
}
