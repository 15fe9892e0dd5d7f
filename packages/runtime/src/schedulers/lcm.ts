import { combine } from './combine.js';
import {
	clipEntries,
	flag,
	MAX_TRAIN_TIMESTEPS,
	numberOption,
	predictionEntries,
	refuse,
	type SchedulerClass,
	schedulerClass,
	spacingEntries,
	thresholdEntries,
	wholeOption,
} from './config.js';
import { rescalableBetaEntries, scheduleOf } from './noise-schedule.js';
import { originalPredictor } from './prediction.js';
import { checkStepsWithin, tableOf } from './table.js';

/** The standard deviation of the data in the boundary conditions. */
const SIGMA_DATA = 0.5;

/**
 * Multistep sampling of latent consistency models, arXiv 2310.04378; rules and defaults of diffusers'
 * src/diffusers/schedulers/scheduling_lcm.py. The timesteps are chosen from the `original_inference_steps` that the
 * model was distilled with (`timestep_spacing` and `set_alpha_to_one` change nothing). Draws noise in every call but
 * the last.
 */
export const lcm: SchedulerClass = schedulerClass(
	'lcm',
	'LCMScheduler',
	{
		...rescalableBetaEntries({ start: 0.00085, end: 0.012, schedule: 'scaled_linear' }),
		...predictionEntries(['epsilon', 'sample', 'v_prediction']),
		...clipEntries(false),
		...thresholdEntries(),
		...spacingEntries('leading'),
		original_inference_steps: wholeOption(50, 1, MAX_TRAIN_TIMESTEPS),
		set_alpha_to_one: flag(true),
		timestep_scaling: numberOption(10),
	},
	(config, { steps, batch }) => {
		const { num_train_timesteps: trained, original_inference_steps: original } = config;
		checkStepsWithin('lcm', steps, trained);
		if (original > trained) refuse('lcm', `original_inference_steps is ${original}; at most num_train_timesteps, ${trained}.`);
		if (steps > original) refuse('lcm', `${steps} steps; at most original_inference_steps, ${original}.`);
		const schedule = scheduleOf(config);
		const spacing = Math.floor(trained / original);
		const chosen = original / steps;
		const timesteps = Array.from({ length: steps }, (_, i) => (original - Math.floor(i * chosen)) * spacing - 1);
		const table = tableOf('lcm', schedule, timesteps);

		const predictOriginal = originalPredictor(config.prediction_type, config, batch, (call) => table.level(timesteps[call] as number));
		return {
			timesteps,
			predictOriginal,
			addNoise: table.addNoise,
			step(output, call, sample, noise) {
				const scaled = (timesteps[call] as number) * config.timestep_scaling;
				const spread = scaled ** 2 + SIGMA_DATA ** 2;
				const denoised = combine([
					[scaled / Math.sqrt(spread), predictOriginal(output, call, sample)],
					[SIGMA_DATA ** 2 / spread, sample],
				]);
				const following = timesteps[call + 1];
				if (following === undefined) return denoised;
				const { alpha, sigma } = table.level(following);
				return combine([
					[alpha, denoised],
					[sigma, noise()],
				]);
			},
		};
	},
);
