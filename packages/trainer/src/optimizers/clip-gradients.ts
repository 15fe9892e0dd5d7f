const { fround, sqrt } = Math;

/** How large the gradients of a step were. */
export interface GradientNorm {
	/** Root of the sum of all squares, before clipping; not finite when an entry is not, or float32 cannot hold it. */
	readonly norm: number;
	/** What the gradients were multiplied with; 1: they are as they were. */
	readonly scale: number;
	/** The tensor at which the norm ceased to be finite; the gradients were left alone then, and no step should follow. */
	readonly nonFinite: string | undefined;
}

/**
 * Makes gradients smaller, in place, when their norm over all tensors and groups together is above a limit
 * (pytorch/pytorch torch/nn/utils/clip_grad.py): all are multiplied by `maxNorm / (norm + 1e-6)` where that is below 1. The norm
 * is that of the tensors' norms, each as float32; sums are taken in float64, where torch's float32 sums lose up to 1e-6 of it.
 *
 * @param maxNorm null: measure only
 */
export function clipGradients(gradients: ReadonlyMap<string, Float32Array>, maxNorm: number | null): GradientNorm {
	let squares = 0;
	let norm = 0;
	let nonFinite: string | undefined;
	for (const [name, gradient] of gradients) {
		squares += fround(sqrt(sumOfSquares(gradient))) ** 2;
		norm = fround(sqrt(squares));
		if (!Number.isFinite(norm)) nonFinite ??= name;
	}
	if (nonFinite !== undefined || maxNorm === null) return { norm, scale: 1, nonFinite };
	// torch divides by taking the reciprocal first
	const scale = Math.min(1, fround(fround(1 / fround(norm + fround(1e-6))) * fround(maxNorm)));
	if (scale < 1) for (const gradient of gradients.values()) multiply(gradient, scale);
	return { norm, scale, nonFinite };
}

function sumOfSquares(values: Float32Array): number {
	let sum = 0;
	for (let i = 0; i < values.length; i++) sum += (values[i] as number) * (values[i] as number);
	return sum;
}

function multiply(values: Float32Array, factor: number): void {
	for (let i = 0; i < values.length; i++) values[i] = fround((values[i] as number) * factor);
}
