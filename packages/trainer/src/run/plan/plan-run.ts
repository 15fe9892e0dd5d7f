import type { ParameterGroup, TrainableTensor } from '../../model/trainable-tensor.js';
import { adapterFileSize } from '../../result/adapter-file-size.js';
import type { ResultOptions } from '../../result/plan-result.js';
import type { AdapterDescription } from '../../result/trained-adapter.js';
import type { Objective, RunConfig } from '../config/run-config.js';
import { parameterCounts } from '../parameter-counts.js';
import { runPhases } from '../phases.js';
import type { Rates } from '../run-events.js';
import type { EngineMemory } from './engine-memory.js';
import { estimateMemory, type MemoryEstimate, OPTIMIZER_STATE_BYTES } from './memory-estimate.js';

export interface RunPlanRequest {
	readonly config: RunConfig;
	readonly objective: Objective;
	/** What will be trained: shapes are enough. */
	readonly tensors: readonly Pick<TrainableTensor, 'name' | 'group' | 'shape'>[];
	readonly description: AdapterDescription;
	readonly result: Omit<ResultOptions, 'dtype'>;
	/** Pictures that are trained on, class pictures, held-out ones. */
	readonly pictures: { readonly train: number; readonly classes: number; readonly heldOut: number };
	/** `createDiffusionBatches(...).batchesPerEpoch`. */
	readonly batchesPerEpoch: number;
	readonly trainTimesteps: number;
	/** `engineMemory` of the largest batch; left out: memory is not estimated. */
	readonly engineMemory?: EngineMemory | undefined;
	/** On this machine with these settings; left out: time is not estimated. */
	readonly measured?: MeasuredMicroBatch | undefined;
}

/** A micro-batch that was computed. */
export interface MeasuredMicroBatch {
	readonly seconds: number;
	/** The most memory that the process had resident until then, in bytes. */
	readonly peak: number;
}

/** What a run will be, before it begins. Plain data: `lora train --dry-run --json`. */
export interface RunPlan {
	readonly schema: 'lora.train-plan/1';
	readonly objective: Objective;
	readonly parameters: Readonly<Partial<Record<ParameterGroup, number>>> & { readonly total: number };
	/** Exact, headers included; the type that will be written is `dtype`. */
	readonly files: { readonly dtype: RunConfig['output']['dtype']; readonly F32: FileBytes; readonly F16: FileBytes };
	readonly pictures: RunPlanRequest['pictures'];
	readonly batchesPerEpoch: number;
	readonly phases: readonly PlannedPhase[];
	readonly checkpoints: { readonly count: number; readonly kept: number /** About, of each. */; readonly bytes: number };
	/** Estimate, and what was measured. */
	readonly memory: MemoryEstimate | null;
	/** Estimate: measured seconds of a micro-batch times their number; validation and saving are not in it. */
	readonly seconds: number | null;
}

export interface FileBytes {
	readonly bytes: number;
	readonly files: readonly { readonly name: string; readonly bytes: number }[];
}

export interface PlannedPhase {
	readonly name: 'inversion' | 'training';
	readonly optimizerSteps: number;
	readonly microBatches: number;
	readonly epochs: number;
	readonly stepsPerEpoch: number;
	readonly rates: Rates;
	/** Pictures of one step. */
	readonly picturesPerStep: number;
}

/** `state.json`: five-kilobyte generators in base64 and the configuration. */
const STATE_BYTES = 64 * 1024;

/**
 * @throws {FormatError} what could not be written (`adapterFileSize`), `E_CONFIG` for phases that cannot be
 */
export function planRun(request: RunPlanRequest): RunPlan {
	const { config, objective, tensors, description, result, pictures, batchesPerEpoch, engineMemory: engine, measured } = request;
	const counts = parameterCounts(tensors);
	const total = Object.values(counts).reduce((sum, count) => sum + count, 0);
	const size = (dtype: 'F32' | 'F16'): FileBytes => {
		const { bytes, files } = adapterFileSize(tensors, description, { ...result, dtype });
		return { bytes, files: files.map(({ name, bytes: own }) => ({ name, bytes: own })) };
	};
	const files = { dtype: config.output.dtype, F32: size('F32'), F16: size('F16') };
	const perSample = config.train.train_batch_size * (pictures.classes > 0 ? 2 : 1);
	const groups = new Set(tensors.map(({ group }) => group));
	const phases = runPhases(config, objective, batchesPerEpoch, request.trainTimesteps, groups).map(
		({ name, optimizerSteps, timing, epochs, stepsPerEpoch, baseRates }): PlannedPhase => ({
			name,
			optimizerSteps,
			// The end of an epoch may end a step early, so these are the most.
			microBatches: timing.rule === 'cloneofsimo' ? (optimizerSteps - 1) * timing.accumulation + 1 : optimizerSteps * timing.accumulation,
			epochs,
			stepsPerEpoch,
			rates: baseRates,
			picturesPerStep: perSample * timing.accumulation,
		}),
	);
	const steps = phases.at(-1)?.optimizerSteps ?? 0;
	const { every, keep } = config.checkpoints;
	const count = every === null ? 1 : Math.ceil(steps / every);
	const memory =
		engine === undefined
			? null
			: estimateMemory({
					engine,
					parameters: total,
					optimizer: config.optimizer.kind,
					ema: config.ema !== null,
					keepBest: config.validation.keep_best,
					measured: measured?.peak,
				});
	const micro = phases.reduce((sum, { microBatches }) => sum + microBatches, 0);
	return {
		schema: 'lora.train-plan/1',
		objective,
		parameters: { ...counts, total },
		files,
		pictures,
		batchesPerEpoch,
		phases,
		// Values, state, mean and best, and the adapter.
		checkpoints: {
			count,
			kept: keep === null ? count : Math.min(count, keep),
			bytes: files[config.output.dtype === 'F32' ? 'F32' : 'F16'].bytes + stateBytes(config, total),
		},
		memory,
		seconds: measured === undefined ? null : measured.seconds * micro,
	};
}

function stateBytes({ optimizer, ema, validation }: RunConfig, total: number): number {
	const values = 4 * (1 + Number(ema !== null) + Number(validation.keep_best));
	return Math.round(total * (values + OPTIMIZER_STATE_BYTES[optimizer.kind])) + STATE_BYTES;
}
