import type { StepRule } from './config/run-config.js';

/**
 * When accumulated gradients step and which rate they use.
 *
 * `diffusers` (accelerate): every `accumulation` micro-batches, and at the end of an epoch with what is there (still divided by
 * `accumulation`). The schedule steps after the optimizer: step k (from 0) uses entry k.
 *
 * `cloneofsimo` (cloneofsimo/lora lora_diffusion/cli_lora_pti.py): the schedule steps before each micro-batch m (from 0), and the
 * optimizer steps when m is a multiple of `accumulation`, so after the very first one too. Its steps are micro-batches;
 * what is left over at the end is not applied.
 */
export interface StepTiming {
	readonly rule: StepRule;
	readonly accumulation: number;
}

/** Micro-batches of optimizer step `step`, where the epoch does not end it earlier. */
export function microBatchesOf({ rule, accumulation }: StepTiming, step: number): number {
	return rule === 'cloneofsimo' && step === 0 ? 1 : accumulation;
}

/** The entry of the learning rate schedule that optimizer step `step` uses. */
export function scheduleIndexOf({ rule, accumulation }: StepTiming, step: number): number {
	return rule === 'cloneofsimo' ? step * accumulation + 1 : step;
}

/** Optimizer steps of a run whose configuration says `steps`. */
export function optimizerSteps({ rule, accumulation }: StepTiming, steps: number): number {
	return rule === 'cloneofsimo' ? Math.floor((steps - 1) / accumulation) + 1 : steps;
}

/** Optimizer steps of one epoch. */
export function stepsPerEpoch({ rule, accumulation }: StepTiming, batches: number): number {
	return rule === 'cloneofsimo' ? batches / accumulation : Math.ceil(batches / accumulation);
}
