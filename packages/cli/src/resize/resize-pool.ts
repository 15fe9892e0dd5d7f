import os from 'node:os';
import { Worker } from 'node:worker_threads';
import { FormatError, type ResizeOutcome, type ResizeRunner } from '@lorakit/format';
import type { ResizeAnswer, ResizeTask } from './resize-worker.js';

/** The arithmetic of `lora resize` on several cores. */
export interface ResizePool {
	readonly run: ResizeRunner;
	/** How many jobs keep every thread busy. */
	readonly jobs: number;
	close(): Promise<void>;
}

/** Below this many bytes of input the threads cost more than they save (30 ms each to start and warm up). */
const POOL_BYTES = 4 * 1024 * 1024;

/** More threads than this wait for the one that reads. */
const MOST_THREADS = 8;

/** One job under way and one waiting, so that no thread idles while the next factors are read. */
const JOBS_PER_THREAD = 2;

interface Waiting {
	resolve(outcome: ResizeOutcome): void;
	reject(error: unknown): void;
}

interface Thread {
	readonly worker: Worker;
	readonly waiting: Map<number, Waiting>;
}

/**
 * Threads for an input of this size; undefined where it is small or the machine has one core. A module's result does
 * not depend on where it was computed, so the file is the same byte for byte.
 *
 * @param bytes of the whole input.
 */
export function createResizePool(bytes: number, cores: number = os.availableParallelism()): ResizePool | undefined {
	const count = Math.min(cores, MOST_THREADS);
	if (bytes < POOL_BYTES || count < 2) return undefined;
	const threads: Thread[] = [];
	let next = 0;

	function start(): Thread {
		// The commands are in dist/chunks, the worker in dist.
		const thread: Thread = { worker: new Worker(new URL('../resize-worker.cjs', import.meta.url)), waiting: new Map() };
		thread.worker.on('message', ({ id, outcome, refusal, fault }: ResizeAnswer) => {
			const task = thread.waiting.get(id);
			thread.waiting.delete(id);
			if (outcome !== undefined) task?.resolve(outcome);
			else if (refusal !== undefined) task?.reject(new FormatError(refusal.code, refusal.message, { at: refusal.at }));
			else task?.reject(new Error(fault));
		});
		thread.worker.on('error', (error) => {
			for (const { reject } of thread.waiting.values()) reject(error);
			thread.waiting.clear();
		});
		threads.push(thread);
		return thread;
	}

	return {
		jobs: count * JOBS_PER_THREAD,
		run(job) {
			const idle = threads.find((t) => t.waiting.size === 0) ?? (threads.length < count ? start() : leastBusy(threads));
			// Copies of its own to give away: a view would be sent with all of the memory it is a view of.
			const factors = job.factors.map(([role, dtype, shape, bytes]) => [role, dtype, shape, bytes.slice()] as const);
			const task: ResizeTask = { id: next++, job: { ...job, factors } };
			return new Promise((resolve, reject) => {
				idle.waiting.set(task.id, { resolve, reject });
				idle.worker.postMessage(
					task,
					factors.map(([, , , bytes]) => bytes.buffer),
				);
			});
		},
		async close() {
			await Promise.all(threads.map(({ worker }) => worker.terminate()));
		},
	};
}

function leastBusy(threads: readonly Thread[]): Thread {
	return threads.reduce((a, b) => (b.waiting.size < a.waiting.size ? b : a));
}
