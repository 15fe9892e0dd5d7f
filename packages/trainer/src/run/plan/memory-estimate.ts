import type { OptimizerOptions } from '../../optimizers/optimizer-options.js';
import type { EngineMemory } from './engine-memory.js';

/** An estimate in bytes, part by part: what is counted is said, what is not is not. */
export interface MemoryEstimate extends EngineMemory {
	/** Trained values, their gradients, accumulated gradients, the optimizer's state, moving mean and best values. */
	readonly training: number;
	/** All together: what the process has resident at its peak. */
	readonly total: number;
	/** The same measured, where a micro-batch was computed: the most that the process had resident, by the system. */
	readonly measured: number | null;
}

export interface MemoryRequest {
	readonly engine: EngineMemory;
	/** Trained numbers. */
	readonly parameters: number;
	readonly optimizer: OptimizerOptions['kind'];
	readonly ema: boolean;
	readonly keepBest: boolean;
	readonly measured?: number | undefined;
}

const F32 = 4;
/** Bytes of state by trained number: two moments; two moments in a byte each with a scale for 256; Prodigy's four arrays. */
export const OPTIMIZER_STATE_BYTES: Readonly<Record<OptimizerOptions['kind'], number>> = { adamw: 8, adamw8bit: 2 + 8 / 256, prodigy: 16 };

/** Arrays of all trained numbers: values, as they are fed, gradients as the engine gives them and as they are used, their sum. */
const ARRAYS = 5;

/**
 * What the steps of a run need. Left out is what is loaded at other times: the VAE, text encoders and decoded pictures while caches are
 * filled, pictures drawn for validation. Where captions or cuts change at random and nothing can be cached, the VAE and the text encoders
 * stay beside the steps: their weights are not counted.
 */
export function estimateMemory({ engine, parameters, optimizer, ema, keepBest, measured }: MemoryRequest): MemoryEstimate {
	const { weights, activations, process, rule } = engine;
	const training = Math.round(parameters * (F32 * (ARRAYS + Number(ema) + Number(keepBest)) + OPTIMIZER_STATE_BYTES[optimizer]));
	return { weights, training, activations, process, total: weights + training + activations + process, measured: measured ?? null, rule };
}
