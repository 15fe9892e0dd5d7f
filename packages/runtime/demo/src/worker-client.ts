import type { CallName, Calls, Failure, Progress, ToPage, ToWorker } from './messages.js';

/** A call that the worker refused. */
export class WorkerFailure extends Error {
	readonly failure: Failure;

	constructor(failure: Failure) {
		super(failure.message);
		this.failure = failure;
	}
}

/** The page's side of the worker. */
export interface WorkerClient {
	/** @throws {WorkerFailure} with the worker's sentence. */
	call<K extends CallName>(name: K, given: Calls[K]['given']): Promise<Calls[K]['result']>;
	/** End the picture that is being drawn; its call fails with `E_INTERRUPTED`. */
	stop(): void;
}

export function createWorkerClient(worker: Worker, onProgress: (progress: Progress) => void): WorkerClient {
	const waiting = new Map<number, { resolve(result: unknown): void; reject(error: Error): void }>();
	let calls = 0;

	worker.addEventListener('message', ({ data }: MessageEvent<ToPage>) => {
		if (data.type === 'progress') {
			onProgress(data.progress);
			return;
		}
		const call = waiting.get(data.id);
		waiting.delete(data.id);
		if (data.type === 'result') call?.resolve(data.result);
		else call?.reject(new WorkerFailure(data.failure));
	});
	// The script itself could not be loaded, or failed outside of a call.
	worker.addEventListener('error', (event) => {
		event.preventDefault();
		const failure = {
			code: 'E_INTERNAL',
			message: `The page's worker failed: ${event.message || 'worker.js cannot be loaded'}; reload the page.`,
		};
		for (const call of waiting.values()) call.reject(new WorkerFailure(failure));
		waiting.clear();
	});

	function post(message: ToWorker): void {
		worker.postMessage(message);
	}

	return {
		call: (name, given) =>
			new Promise((resolve, reject) => {
				const id = calls++;
				waiting.set(id, { resolve: resolve as (result: unknown) => void, reject });
				post({ type: 'call', id, name, given } as ToWorker);
			}),
		stop: () => post({ type: 'stop' }),
	};
}
