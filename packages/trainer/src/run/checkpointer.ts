import { FormatError, quote } from '@lorakit/format';
import type { CheckpointReason } from './run-events.js';
import type { RunSnapshot } from './run-snapshot.js';

export interface CheckpointOptions {
	/** Optimizer steps between checkpoints; undefined: only at the end, when stopped, and the best. */
	readonly every?: number | undefined;
	/** Writes one, whole or not at all. @returns its name */
	readonly save: (snapshot: RunSnapshot, reason: CheckpointReason) => Promise<string>;
	/** Name of the one that was resumed. */
	readonly resumed?: string | undefined;
}

/** Knows what is saved already. */
export interface Checkpointer {
	/** The last one that was written, or resumed. */
	readonly last: string | undefined;
	isDue(step: number): boolean;
	/** @returns its name; undefined where this step is saved already, or nothing is to be saved */
	save(snapshot: () => RunSnapshot, reason: CheckpointReason, step: number): Promise<string | undefined>;
}

export function createCheckpointer(options: CheckpointOptions | undefined, step: number, resumed: boolean): Checkpointer {
	let last = options?.resumed;
	let savedStep = resumed && options?.resumed !== undefined ? step : undefined;
	return {
		get last() {
			return last;
		},
		isDue: (at) => options?.every !== undefined && at % options.every === 0,
		async save(snapshot, reason, at) {
			if (options === undefined || savedStep === at) return undefined;
			try {
				last = await options.save(snapshot(), reason);
			} catch (error) {
				if (!(error instanceof FormatError)) throw error;
				const before =
					last === undefined ? 'there is no earlier one' : `the last good one is ${quote(last)}, from which the run can be resumed`;
				throw new FormatError(error.code, `${error.message} The checkpoint of step ${at} was not written; ${before}.`, {
					at: error.at,
					cause: error,
				});
			}
			savedStep = at;
			return last;
		},
	};
}
