import path from 'node:path';
import { FormatError } from '@lorakit/format';
import type { TrainableTensor } from '../../model/trainable-tensor.js';
import type { TrainingModel } from '../../model/training-model.js';
import { createOptimizer } from '../../optimizers/create-optimizer.js';
import { EmaModel } from '../../optimizers/ema-model.js';
import { LossScaler } from '../../optimizers/loss-scaler.js';
import type { OptimizerOptions } from '../../optimizers/optimizer-options.js';
import type { BatchSource } from '../../run/batch-source.js';
import type { RunConfig } from '../../run/config/run-config.js';
import { applyNormPrior } from '../../run/norm-prior.js';
import type { Phase } from '../../run/phases.js';
import type { RunIdentity } from '../../run/run-identity.js';
import { type TrainRunResult, trainRun, type ValidationOptions } from '../../run/train-run.js';
import { type CheckpointStoreOptions, createCheckpointStore } from '../run/checkpoint-store.js';
import { checkResume, type FoundCheckpoint, findCheckpoint } from '../run/resume-checkpoint.js';
import { openRunLogs } from '../run/run-logs.js';
import type { TrainHooks } from './hooks.js';

/** Whether and where a run goes on. */
export interface ResumeOptions {
	/** The newest checkpoint, the one of a name, or none. */
	readonly from: 'newest' | 'none' | { readonly name: string };
	/** Go on although it is another run by its configuration, data or base. */
	readonly changed: boolean;
}

export interface PhaseRun {
	readonly config: RunConfig;
	readonly phase: Phase;
	/** Where its checkpoints and logs are. */
	readonly folder: string;
	readonly identity: RunIdentity;
	readonly model: TrainingModel;
	/** Those of the model that change. */
	readonly trained: readonly TrainableTensor[];
	readonly optimizer: OptimizerOptions;
	readonly batches: BatchSource;
	readonly validation: ValidationOptions | undefined;
	/** Of the token, where its norm is pulled. */
	readonly normPrior: { readonly rows: TrainableTensor; readonly target: number } | undefined;
	readonly adapter: CheckpointStoreOptions['adapter'];
	readonly resume: FoundCheckpoint | undefined;
	/** Of lorakit. */
	readonly version: string;
	readonly hooks: TrainHooks;
}

/** The checkpoint that a phase goes on from. @throws {FormatError} those of reading it; `E_CONFIG` when it is another run's */
export async function checkpointToResume(
	folder: string,
	identity: RunIdentity,
	resume: ResumeOptions,
	hooks: TrainHooks,
): Promise<FoundCheckpoint | undefined> {
	if (resume.from === 'none') return undefined;
	const found = await findCheckpoint(folder, typeof resume.from === 'string' ? undefined : resume.from.name);
	if (found === undefined) return undefined;
	for (const { name, why } of found.damaged) hooks.note?.(`${name} is damaged and passed over: ${why}`);
	for (const { path: key, saved, now, kind } of checkResume(found, identity, resume.changed)) {
		hooks.note?.(`${key} was ${saved} and is ${now}${kind === 'bits' ? ': the last bits may be others' : ''}`);
	}
	return found;
}

/** Run one phase, with its logs and checkpoints. @throws {FormatError} those of `trainRun` */
export async function runPhase(run: PhaseRun): Promise<TrainRunResult> {
	const { config, phase, folder, identity, model, hooks, normPrior, resume } = run;
	const logs = openRunLogs(folder, config, run.version);
	const store = createCheckpointStore({ folder, keep: config.checkpoints.keep ?? undefined, run: identity, adapter: run.adapter });
	const rows = normPrior?.rows;
	try {
		const loop = trainRun({
			model,
			optimizer: createOptimizer(run.optimizer, run.trained),
			batches: run.batches,
			steps: phase.optimizerSteps,
			timing: phase.timing,
			rates: phase.rates,
			maxGradNorm: phase.maxGradNorm,
			afterStep:
				rows === undefined || normPrior === undefined ? undefined : (rates) => applyNormPrior(rows, rates.tokens ?? 0, normPrior.target),
			average: config.ema === null ? undefined : new EmaModel(config.ema, model.tensors),
			scaler: config.engine.mixed_precision === 'fp16' ? new LossScaler() : undefined,
			validation: run.validation,
			checkpoints: {
				every: config.checkpoints.every ?? undefined,
				save: store,
				resumed: resume === undefined ? undefined : path.basename(resume.folder),
			},
			resume: resume?.snapshot,
			signal: hooks.signal,
		});
		for (;;) {
			const { value, done } = await loop.next();
			if (done === true) return value;
			await logs.write(value);
			hooks.onEvent?.(value, phase.name);
			// Signals are heard here also under engines that never let go of the thread.
			await new Promise((resolve) => setImmediate(resolve));
		}
	} finally {
		logs.close();
	}
}

/** The optimizer of the first phase of pivotal tuning: that of the run with its own decay. @throws {FormatError} `E_CONFIG` without an inversion */
export function inversionOptimizer({ optimizer, inversion }: RunConfig): OptimizerOptions {
	if (inversion === null) throw new FormatError('E_CONFIG', 'There is no inversion in this configuration.');
	return { ...optimizer, weight_decay: inversion.weight_decay };
}
