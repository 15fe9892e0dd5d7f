import { combine, type Term } from './combine.js';
import { predictionEntries, type SchedulerClass, schedulerClass, spacingEntries } from './config.js';
import { interpolate } from './float32.js';
import { betaEntries, scheduleOf } from './noise-schedule.js';
import { originalAtSigma } from './prediction.js';
import { sigmaRun } from './sigma-run.js';
import { checkSigmaConfig, karrasSigmas, logSigmas, respacedSigmas, sigmaEntries, sigmaToTimestep } from './sigmas.js';
import { fractionalTimesteps } from './timesteps.js';

/** Derivatives that are kept. */
const ORDER = 4;

/**
 * Linear multistep method over noise levels, after k-diffusion; rules and defaults of diffusers'
 * src/diffusers/schedulers/scheduling_lms_discrete.py. Where a run begins later (image-to-image), the weights are
 * those of four derivatives from the first call on, though there are fewer: diffusers' rule.
 */
export const lms: SchedulerClass = schedulerClass(
	'lms',
	'LMSDiscreteScheduler',
	{
		...betaEntries(),
		...predictionEntries(['epsilon', 'sample', 'v_prediction']),
		...spacingEntries('linspace'),
		...sigmaEntries(),
	},
	(config, { steps }) => {
		checkSigmaConfig('lms', config);
		const table = scheduleOf(config).sigmas;
		const spaced = fractionalTimesteps(config, steps);
		const levels = spaced.map((t) => interpolate(t, table));
		const [highest, lowest] = [levels[0] as number, levels[levels.length - 1] as number];
		// Here Karras' spacing does not look at sigma_min and sigma_max.
		const respaced = config.use_karras_sigmas ? karrasSigmas(highest, lowest, steps) : respacedSigmas(config, highest, lowest, steps);
		const logs = logSigmas(table);
		const timesteps = respaced === undefined ? spaced : respaced.map((sigma) => Math.fround(sigmaToTimestep(sigma, logs)));
		const sigmas = Float32Array.from([...(respaced ?? levels), 0]);
		/** Latest first. */
		const derivatives: Float32Array[] = [];

		const predictOriginal = (output: Float32Array, call: number, sample: Float32Array) =>
			originalAtSigma(config.prediction_type, output, sample, sigmas[call] as number);
		return {
			...sigmaRun(config, sigmas),
			timesteps,
			sigmas,
			predictOriginal,
			step(output, call, sample) {
				derivatives.unshift(
					combine(
						[
							[1, sample],
							[-1, predictOriginal(output, call, sample)],
						],
						sigmas[call] as number,
					),
				);
				derivatives.splice(ORDER);
				const order = Math.min(call + 1, ORDER);
				const terms = derivatives.slice(0, order).map((d, i): Term => [lagrangeIntegral(sigmas, order, call, i), d]);
				return combine([[1, sample], ...terms]);
			},
		};
	},
);

/**
 * The integral, from the level of a call to the next, of the Lagrange polynomial that is 1 at the `which`-th of the
 * last `order` levels and 0 at the others. Degree 3 at most, so two Gauss points are exact (diffusers: scipy's quad).
 */
function lagrangeIntegral(sigmas: Float32Array, order: number, call: number, which: number): number {
	const level = (k: number) => sigmas[call - k] as number;
	const [from, to] = [level(0), level(-1)];
	const polynomial = (x: number) => {
		let product = 1;
		for (let k = 0; k < order; k++) if (k !== which) product *= (x - level(k)) / (level(which) - level(k));
		return product;
	};
	const [middle, half] = [(from + to) / 2, (to - from) / 2];
	const offset = half / Math.sqrt(3);
	return half * (polynomial(middle - offset) + polynomial(middle + offset));
}
