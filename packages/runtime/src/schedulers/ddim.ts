import { combine, type Term } from './combine.js';
import { clipEntries, flag, predictionEntries, type SchedulerClass, schedulerClass, spacingEntries, thresholdEntries } from './config.js';
import { rescalableBetaEntries, scheduleOf } from './noise-schedule.js';
import { noiseOf, originalPredictor } from './prediction.js';
import { checkStepsWithin, levelOf, tableOf } from './table.js';
import { spacedTimesteps } from './timesteps.js';

/**
 * Denoising diffusion implicit models, arXiv 2010.02502, formulas (12) and (16); rules and defaults of diffusers'
 * src/diffusers/schedulers/scheduling_ddim.py. Draws noise in every call when eta is above 0.
 */
export const ddim: SchedulerClass = schedulerClass(
	'ddim',
	'DDIMScheduler',
	{
		...rescalableBetaEntries(),
		...predictionEntries(['epsilon', 'sample', 'v_prediction']),
		...clipEntries(true),
		...thresholdEntries(),
		...spacingEntries('leading'),
		set_alpha_to_one: flag(true),
	},
	(config, { steps, eta, batch }) => {
		const trained = config.num_train_timesteps;
		checkStepsWithin('ddim', steps, trained);
		const schedule = scheduleOf(config);
		const timesteps = spacedTimesteps(config, steps);
		const table = tableOf('ddim', schedule, timesteps);
		const final = levelOf(config.set_alpha_to_one ? 1 : (schedule.alphasCumprod[0] as number));
		const ratio = Math.floor(trained / steps);

		const predictOriginal = originalPredictor(config.prediction_type, config, batch, (call) => table.level(timesteps[call] as number));
		return {
			timesteps,
			predictOriginal,
			addNoise: table.addNoise,
			step(output, call, sample, noise) {
				const timestep = timesteps[call] as number;
				const now = table.level(timestep);
				// Not the next call's timestep: always one whole ratio down, as diffusers has it.
				const previous = timestep >= ratio ? table.level(timestep - ratio) : final;
				const deviation = eta * Math.sqrt(((1 - previous.a) / (1 - now.a)) * (1 - now.a / previous.a));
				const terms: Term[] = [
					[previous.alpha, predictOriginal(output, call, sample)],
					// The noise is not made again from the clipped x0 (use_clipped_model_output is off in the pipelines).
					[Math.sqrt(1 - previous.a - deviation ** 2), noiseOf(config.prediction_type, output, sample, now.alpha, now.sigma)],
				];
				if (eta > 0) terms.push([deviation, noise()]);
				return combine(terms);
			},
		};
	},
);
