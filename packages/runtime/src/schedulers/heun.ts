import { combine } from './combine.js';
import { clipEntries, predictionEntries, type SchedulerClass, schedulerClass, spacingEntries } from './config.js';
import { interpolate } from './float32.js';
import { betaEntries, scheduleOf } from './noise-schedule.js';
import { bounded, originalAtSigma } from './prediction.js';
import { sigmaRun } from './sigma-run.js';
import { checkSigmaConfig, logSigmas, respacedSigmas, sigmaEntries, sigmaToTimestep } from './sigmas.js';
import { fractionalTimesteps } from './timesteps.js';

/**
 * Heun's method over noise levels, arXiv 2206.00364, algorithm 1; rules and defaults of diffusers'
 * src/diffusers/schedulers/scheduling_heun_discrete.py. Every step but the last takes two calls: to the next level,
 * and there again, from where the step began, with the mean of both derivatives.
 */
export const heun: SchedulerClass = schedulerClass(
	'heun',
	'HeunDiscreteScheduler',
	{
		...betaEntries({ start: 0.00085, end: 0.012, more: ['exp'] }),
		...predictionEntries(['epsilon', 'v_prediction', 'sample']),
		...clipEntries(false),
		...spacingEntries('linspace'),
		...sigmaEntries(),
	},
	(config, { steps, batch }) => {
		checkSigmaConfig('heun', config);
		const table = scheduleOf(config).sigmas;
		const spaced = fractionalTimesteps(config, steps);
		const levels = spaced.map((t) => interpolate(t, table));
		const respaced = respacedSigmas(config, levels[0] as number, levels[levels.length - 1] as number, steps);
		const logs = logSigmas(table);
		const single = respaced === undefined ? spaced : respaced.map((sigma) => Math.fround(sigmaToTimestep(sigma, logs)));
		const timesteps = single.flatMap((t, i) => (i === 0 ? [t] : [t, t]));
		const sigmas = Float32Array.from([...(respaced ?? levels).flatMap((s, i) => (i === 0 ? [s] : [s, s])), 0]);

		/** What the first of two calls leaves to the second. */
		let begun: { readonly sample: Float32Array; readonly derivative: Float32Array; readonly distance: number } | undefined;

		// Entries 2k - 1 and 2k are one level, so a call's own level is that of both its roles.
		const predictOriginal = (output: Float32Array, call: number, sample: Float32Array) =>
			bounded(originalAtSigma(config.prediction_type, output, sample, sigmas[call] as number), config, batch);
		return {
			...sigmaRun(config, sigmas),
			timesteps,
			sigmas,
			predictOriginal,
			step(output, call, sample) {
				const sigma = sigmas[call] as number;
				const derivative = combine(
					[
						[1, sample],
						[-1, predictOriginal(output, call, sample)],
					],
					sigma,
				);
				if (begun === undefined) {
					const distance = (sigmas[call + 1] as number) - sigma;
					begun = { sample: sample.slice(), derivative, distance };
					return combine([
						[1, sample],
						[distance, derivative],
					]);
				}
				const { sample: origin, derivative: first, distance } = begun;
				begun = undefined;
				return combine([
					[1, origin],
					[distance / 2, first],
					[distance / 2, derivative],
				]);
			},
		};
	},
);
