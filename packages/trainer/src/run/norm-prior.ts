import type { TrainableTensor } from '../model/trainable-tensor.js';

/**
 * cloneofsimo's norm prior (cloneofsimo/lora lora_diffusion/cli_lora_pti.py `train_inversion`): each row's norm n goes to
 * n + min(1, 100 rate) (target - n). Sums in float64, one rounding.
 * @param rows (tokens, width), changed in place
 */
export function applyNormPrior({ shape, values }: TrainableTensor, rate: number, target: number): void {
	const [count = 0, width = 0] = shape;
	const pull = Math.min(1, 100 * rate);
	for (let row = 0; row < count; row++) {
		const part = values.subarray(row * width, (row + 1) * width);
		let squares = 0;
		for (const x of part) squares += x * x;
		const norm = Math.sqrt(squares);
		if (norm === 0) continue;
		const factor = (norm + pull * (target - norm)) / norm;
		for (let i = 0; i < part.length; i++) part[i] = (part[i] ?? 0) * factor;
	}
}
