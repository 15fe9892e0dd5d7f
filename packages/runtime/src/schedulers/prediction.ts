import { combine } from './combine.js';
import type { PredictionType } from './scheduler.js';

/**
 * The finished sample that an output means, where a sample is alpha x0 + sigma noise.
 *
 * @param alpha and @param sigma of the call, alpha^2 + sigma^2 = 1
 */
export function originalOf(type: PredictionType, output: Float32Array, sample: Float32Array, alpha: number, sigma: number): Float32Array {
	switch (type) {
		case 'epsilon':
			return combine(
				[
					[1, sample],
					[-sigma, output],
				],
				alpha,
			);
		case 'v_prediction':
			return combine([
				[alpha, sample],
				[-sigma, output],
			]);
		case 'sample':
			return output.slice();
	}
}

/** The noise that an output means; as {@link originalOf}. */
export function noiseOf(type: PredictionType, output: Float32Array, sample: Float32Array, alpha: number, sigma: number): Float32Array {
	switch (type) {
		case 'epsilon':
			return output.slice();
		case 'v_prediction':
			return combine([
				[alpha, output],
				[sigma, sample],
			]);
		case 'sample':
			return combine(
				[
					[1, sample],
					[-alpha, output],
				],
				sigma,
			);
	}
}

/** The finished sample that an output means, where a sample is x0 + sigma noise (Euler, Heun, LMS). */
export function originalAtSigma(type: PredictionType, output: Float32Array, sample: Float32Array, sigma: number): Float32Array {
	switch (type) {
		case 'epsilon':
			return combine([
				[1, sample],
				[-sigma, output],
			]);
		case 'v_prediction':
			return combine([
				[-sigma / Math.sqrt(sigma * sigma + 1), output],
				[1 / (sigma * sigma + 1), sample],
			]);
		case 'sample':
			return output.slice();
	}
}

/** How a predicted finished sample is kept in bounds. */
export interface Bounds {
	readonly clip_sample?: boolean;
	readonly clip_sample_range?: number;
	readonly thresholding?: boolean;
	readonly dynamic_thresholding_ratio?: number;
	readonly sample_max_value?: number;
}

/** `original` in bounds: thresholded, or else clipped, or else as it is. May return `original` itself. */
export function bounded(original: Float32Array, bounds: Bounds, batch: number): Float32Array {
	if (bounds.thresholding === true) return thresholded(original, bounds, batch);
	if (bounds.clip_sample !== true) return original;
	const range = bounds.clip_sample_range ?? 1;
	return original.map((x) => clamp(x, range));
}

/**
 * Dynamic thresholding (Imagen, arXiv 2205.11487): each picture is clipped to a quantile of its own magnitudes, at
 * least 1 and at most `sample_max_value`, and divided by it. The quantile is torch's: the rank is a float32.
 */
function thresholded(original: Float32Array, bounds: Bounds, batch: number): Float32Array {
	const result = new Float32Array(original.length);
	const size = original.length / batch;
	for (let start = 0; start < original.length; start += size) {
		const picture = original.subarray(start, start + size);
		const magnitudes = picture.map(Math.abs).sort();
		const rank = Math.fround(Math.fround(bounds.dynamic_thresholding_ratio ?? 0.995) * (size - 1));
		const below = Math.floor(rank);
		const low = magnitudes[below] as number;
		const high = magnitudes[Math.min(below + 1, size - 1)] as number;
		const limit = Math.min(Math.max(low + (rank - below) * (high - low), 1), bounds.sample_max_value ?? 1);
		result.set(
			picture.map((x) => clamp(x, limit) / limit),
			start,
		);
	}
	return result;
}

function clamp(x: number, limit: number): number {
	return x < -limit ? -limit : x > limit ? limit : x;
}

/** `Scheduler.predictOriginal` of the kinds whose sample is alpha x0 + sigma noise. */
export function originalPredictor(
	type: PredictionType,
	bounds: Bounds,
	batch: number,
	mixOf: (call: number) => { readonly alpha: number; readonly sigma: number },
): (output: Float32Array, call: number, sample: Float32Array) => Float32Array {
	return (output, call, sample) => {
		const { alpha, sigma } = mixOf(call);
		return bounded(originalOf(type, output, sample, alpha, sigma), bounds, batch);
	};
}
