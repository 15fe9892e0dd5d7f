import { combine } from './combine.js';
import { predictionEntries, type SchedulerClass, schedulerClass, spacingEntries } from './config.js';
import { interpolate } from './float32.js';
import { LEAST_ALPHA, rescalableBetaEntries, scheduleOf } from './noise-schedule.js';
import { originalAtSigma } from './prediction.js';
import { eulerStep, sigmaRun } from './sigma-run.js';
import { fractionalTimesteps } from './timesteps.js';

const f32 = Math.fround;

/**
 * Euler's method with new noise in every call, after k-diffusion's ancestral sampling; rules and defaults of
 * diffusers' src/diffusers/schedulers/scheduling_euler_ancestral_discrete.py, which has no `sample` prediction. Draws
 * noise in the last call too, where its factor is 0.
 */
export const eulerAncestral: SchedulerClass = schedulerClass(
	'euler_a',
	'EulerAncestralDiscreteScheduler',
	{ ...rescalableBetaEntries(), ...predictionEntries(['epsilon', 'v_prediction']), ...spacingEntries('linspace') },
	(config, { steps }) => {
		const table = scheduleOf(config, LEAST_ALPHA).sigmas;
		const timesteps = fractionalTimesteps(config, steps);
		const sigmas = Float32Array.from([...timesteps.map((t) => interpolate(t, table)), 0]);
		const predictOriginal = (output: Float32Array, call: number, sample: Float32Array) =>
			originalAtSigma(config.prediction_type, output, sample, sigmas[call] as number);
		return {
			...sigmaRun(config, sigmas),
			timesteps,
			sigmas,
			predictOriginal,
			step(output, call, sample, noise) {
				const [from, to] = [sigmas[call] as number, sigmas[call + 1] as number];
				const [from2, to2] = [f32(from ** 2), f32(to ** 2)];
				const up = f32(Math.sqrt(f32(f32(to2 * f32(from2 - to2)) / from2)));
				const down = f32(Math.sqrt(f32(to2 - f32(up ** 2))));
				const next = eulerStep(sample, predictOriginal(output, call, sample), from, f32(down - from));
				return combine([
					[1, next],
					[up, noise()],
				]);
			},
		};
	},
);
