import { combine } from './combine.js';
import type { SpacingConfig } from './timesteps.js';

const f32 = Math.fround;

/** What the kinds share whose samples are x0 + sigma noise: Euler, Euler ancestral, Heun, LMS. */
export interface SigmaRun {
	readonly initNoiseSigma: number;
	scaleInput(sample: Float32Array, call: number): Float32Array;
	addNoise(original: Float32Array, noise: Float32Array, call: number): Float32Array;
}

/** @param sigmas one of each call, and the end's */
export function sigmaRun(config: SpacingConfig, sigmas: Float32Array): SigmaRun {
	const highest = sigmas.reduce((a, b) => Math.max(a, b), 0);
	return {
		// `leading` starts below the noisiest level, so the signal's own variance is counted too.
		initNoiseSigma: f32(config.timestep_spacing === 'leading' ? Math.sqrt(f32(f32(highest ** 2) + 1)) : highest),
		scaleInput: (sample, call) => combine([[1, sample]], Math.sqrt((sigmas[call] as number) ** 2 + 1)),
		addNoise: (original, noise, call) =>
			combine([
				[1, original],
				[sigmas[call] as number, noise],
			]),
	};
}

/**
 * Euler's step from a noise level along (sample - x0) / sigma. Rounded where torch rounds, to float32 after every
 * operation: under zero terminal SNR the first step takes samples of some 4000 down to some 10, and what rounding
 * leaves there is above the tolerance of everything after.
 */
export function eulerStep(sample: Float32Array, original: Float32Array, sigma: number, distance: number): Float32Array {
	return sample.map((x, i) => x + f32(f32(f32(x - (original[i] as number)) / sigma) * distance));
}
