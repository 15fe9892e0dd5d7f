import type { TrainableTensor } from './trainable-tensor.js';

/** The norm that rows are drawn to, and how fast (cloneofsimo/lora lora_diffusion/cli_lora_pti.py, `train_inversion`). */
export interface NormPrior {
	readonly target: number;
	/** The part of the way gone in a step is this times the learning rate, at most 1. */
	readonly speed: number;
}

export const CLONEOFSIMO_NORM_PRIOR: NormPrior = { target: 0.4, speed: 100 };

/**
 * The norm prior of textual inversion: after a step of the optimizer the norm n of each row becomes
 * n + min(1, speed * rate) * (target - n). A row of zeros stays.
 *
 * @param rows (tokens, width), changed in place
 * @param rate the learning rate of that step
 */
export function decayTokenNorms(
	{ shape, values }: TrainableTensor,
	rate: number,
	{ target, speed }: NormPrior = CLONEOFSIMO_NORM_PRIOR,
): void {
	const [count = 0, width = 0] = shape;
	const part = Math.min(1, speed * rate);
	for (let row = 0; row < count; row++) {
		const own = values.subarray(row * width, (row + 1) * width);
		const norm = Math.sqrt(own.reduce((sum, x) => sum + x * x, 0));
		if (norm === 0) continue;
		const factor = (norm + part * (target - norm)) / norm;
		for (const [i, x] of own.entries()) own[i] = x * factor;
	}
}
