import { oneOf, predictionEntries, type SchedulerClass, schedulerClass, spacingEntries } from './config.js';
import { interpolate, linspace32, log32 } from './float32.js';
import { LEAST_ALPHA, rescalableBetaEntries, scheduleOf } from './noise-schedule.js';
import { originalAtSigma } from './prediction.js';
import type { PredictionType } from './scheduler.js';
import { eulerStep, sigmaRun } from './sigma-run.js';
import { checkSigmaConfig, logSigmas, respacedSigmas, sigmaEntries, sigmaToTimestep } from './sigmas.js';
import { fractionalTimesteps } from './timesteps.js';

/**
 * Euler's method over noise levels, arXiv 2206.00364, algorithm 2 without churn; rules and defaults of diffusers'
 * src/diffusers/schedulers/scheduling_euler_discrete.py.
 */
export const euler: SchedulerClass = schedulerClass(
	'euler',
	'EulerDiscreteScheduler',
	{
		...rescalableBetaEntries(),
		...predictionEntries(['epsilon', 'v_prediction', 'sample', 'original_sample']),
		...spacingEntries('linspace'),
		...sigmaEntries(),
		interpolation_type: oneOf(['linear', 'log_linear'], 'linear'),
		timestep_type: oneOf(['discrete', 'continuous'], 'discrete'),
		final_sigmas_type: oneOf(['zero', 'sigma_min'], 'zero'),
	},
	(config, { steps }) => {
		checkSigmaConfig('euler', config);
		const prediction: PredictionType = config.prediction_type === 'original_sample' ? 'sample' : config.prediction_type;
		const table = scheduleOf(config, LEAST_ALPHA).sigmas;
		const spaced = fractionalTimesteps(config, steps);
		const levels =
			config.interpolation_type === 'linear'
				? spaced.map((t) => interpolate(t, table))
				: [...linspace32(log32(table[table.length - 1] as number), log32(table[0] as number), steps + 1).map(Math.exp)];
		const respaced = respacedSigmas(config, levels[0] as number, levels[levels.length - 1] as number, steps);
		const last = config.final_sigmas_type === 'zero' ? 0 : (table[0] as number);
		const sigmas = Float32Array.from([...(respaced ?? levels), last]);
		const logs = logSigmas(table);
		let timesteps = respaced === undefined ? spaced : respaced.map((sigma) => Math.fround(sigmaToTimestep(sigma, logs)));
		if (config.timestep_type === 'continuous' && prediction === 'v_prediction') {
			timesteps = Array.from(sigmas.subarray(0, -1), (sigma) => Math.fround(0.25 * Math.fround(Math.log(sigma))));
		}

		const predictOriginal = (output: Float32Array, call: number, sample: Float32Array) =>
			originalAtSigma(prediction, output, sample, sigmas[call] as number);
		return {
			...sigmaRun(config, sigmas),
			timesteps,
			sigmas,
			predictOriginal,
			step(output, call, sample) {
				const sigma = sigmas[call] as number;
				const distance = Math.fround((sigmas[call + 1] as number) - sigma);
				return eulerStep(sample, predictOriginal(output, call, sample), sigma, distance);
			},
		};
	},
);
