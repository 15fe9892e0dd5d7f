import type { Warning } from '@lorakit/format';
import type { RunEvent } from '../../run/run-events.js';

/** Told how a training goes, from opening the base to the last file. */
export interface TrainHooks {
	/** What `trainRun` says, in order; of pivotal tuning both phases. */
	readonly onEvent?: ((event: RunEvent, phase: TrainPhase) => void) | undefined;
	/** Work before, between and after steps. */
	readonly onWork?: ((what: string, done: number, total: number, unit: 'bytes' | 'count') => void) | undefined;
	/** What people should know. */
	readonly note?: ((text: string) => void) | undefined;
	readonly warn?: ((warnings: readonly Warning[]) => void) | undefined;
	/** Aborted: the run is saved and ends; before the first step it ends at once. */
	readonly signal?: AbortSignal | undefined;
}

/** Pivotal tuning learns the token first. */
export type TrainPhase = 'inversion' | 'training';
