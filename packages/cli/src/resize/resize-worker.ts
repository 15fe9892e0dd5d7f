import { parentPort } from 'node:worker_threads';
import { FormatError, loadKernel, type ResizeJob, type ResizeOutcome, runResizeJob } from '@lorakit/format';

/** What the worker is asked. */
export interface ResizeTask {
	readonly id: number;
	readonly job: ResizeJob;
}

/** What it answers: an outcome, a refusal as plain data (classes do not survive the way), or a fault of this program. */
export interface ResizeAnswer {
	readonly id: number;
	readonly outcome?: ResizeOutcome;
	readonly refusal?: { readonly code: FormatError['code']; readonly message: string; readonly at: string | undefined };
	readonly fault?: string;
}

/** The worker thread of `resize-pool.ts`: one module after the other, by the same code as without threads. */
parentPort?.on('message', async (task: ResizeTask) => {
	await loadKernel();
	const { outcome, ...rest } = await answer(task);
	const made = outcome === undefined ? [] : outcome.values === undefined ? [outcome.stored.up, outcome.stored.down] : [outcome.values];
	parentPort?.postMessage(
		{ ...rest, outcome },
		made.map(({ buffer }) => buffer as ArrayBuffer),
	);
});

async function answer({ id, job }: ResizeTask): Promise<ResizeAnswer> {
	try {
		return { id, outcome: await runResizeJob(job) };
	} catch (error) {
		if (!(error instanceof FormatError)) return { id, fault: error instanceof Error ? (error.stack ?? error.message) : String(error) };
		const { code, message, at } = error;
		return { id, refusal: { code, message, at } };
	}
}
