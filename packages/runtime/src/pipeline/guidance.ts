/**
 * Classifier-free guidance: uncond + guidance (text - uncond), each step rounded to float32 as torch does.
 * @param output (2 n): the unconditional half first
 */
export function guide(output: ArrayLike<number>, guidance: number): Float32Array {
	const n = output.length / 2;
	const g = Math.fround(guidance);
	const out = new Float32Array(n);
	for (let i = 0; i < n; i++) {
		const [uncond, text] = [output[i] ?? 0, output[n + i] ?? 0];
		out[i] = uncond + Math.fround(g * Math.fround(text - uncond));
	}
	return out;
}

/**
 * Guidance by several texts (composable diffusion): uncond + the sum of weight * guidance * (text - uncond), in float32 and
 * text by text (AUTOMATIC1111/stable-diffusion-webui modules/sd_samplers_cfg_denoiser.py `combine_denoised`).
 * @param output (1 + weights, batch, ...): unconditional, then the texts
 */
export function guideComposed(output: ArrayLike<number>, weights: readonly number[], guidance: number): Float32Array {
	const n = output.length / (1 + weights.length);
	const out = Float32Array.from({ length: n }, (_, i) => output[i] ?? 0);
	for (const [text, weight] of weights.entries()) {
		const g = Math.fround(weight * guidance);
		const from = (text + 1) * n;
		for (let i = 0; i < n; i++) {
			out[i] = (out[i] ?? 0) + Math.fround(g * Math.fround((output[from + i] ?? 0) - (output[i] ?? 0)));
		}
	}
	return out;
}

/**
 * Guidance rescale of "Common Diffusion Noise Schedules and Sample Steps are Flawed", 3.4 (diffusers'
 * `rescale_noise_cfg`): the guided output gets the standard deviation of the text output, mixed by `rescale`.
 * @param guided (batch, ...), @param output (2 batch, ...)
 */
export function rescaleGuided(guided: Float32Array, output: ArrayLike<number>, batch: number, rescale: number): Float32Array {
	const size = guided.length / batch;
	const out = new Float32Array(guided.length);
	for (let b = 0; b < batch; b++) {
		const from = b * size;
		const factor = deviation(output, guided.length + from, size) / deviation(guided, from, size);
		for (let i = from; i < from + size; i++) {
			const x = guided[i] ?? 0;
			out[i] = rescale * x * factor + (1 - rescale) * x;
		}
	}
	return out;
}

/** With n - 1, as torch.std has it. */
function deviation(values: ArrayLike<number>, from: number, size: number): number {
	let mean = 0;
	for (let i = 0; i < size; i++) mean += (values[from + i] ?? 0) / size;
	let sum = 0;
	for (let i = 0; i < size; i++) sum += ((values[from + i] ?? 0) - mean) ** 2;
	return Math.sqrt(sum / (size - 1));
}
