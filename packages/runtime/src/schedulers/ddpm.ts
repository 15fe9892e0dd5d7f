import { combine } from './combine.js';
import {
	clipEntries,
	oneOf,
	predictionEntries,
	refuse,
	type SchedulerClass,
	schedulerClass,
	spacingEntries,
	thresholdEntries,
} from './config.js';
import { rescalableBetaEntries, scheduleOf } from './noise-schedule.js';
import { bounded, originalOf } from './prediction.js';
import { checkStepsWithin, levelOf, tableOf } from './table.js';
import { spacedTimesteps } from './timesteps.js';

const VARIANCES = ['fixed_small', 'fixed_small_log', 'fixed_large', 'fixed_large_log', 'learned', 'learned_range'] as const;

/**
 * Denoising diffusion probabilistic models, arXiv 2006.11239, formulas (6) and (7); rules and defaults of diffusers'
 * src/diffusers/schedulers/scheduling_ddpm.py. Draws noise in every call but the one at timestep 0. With a learned
 * variance the model's output has twice the channels: the prediction, then the variance.
 */
export const ddpm: SchedulerClass = schedulerClass(
	'ddpm',
	'DDPMScheduler',
	{
		...rescalableBetaEntries({ more: ['laplace', 'sigmoid'] }),
		...predictionEntries(['epsilon', 'sample', 'v_prediction']),
		...clipEntries(true),
		...thresholdEntries(),
		...spacingEntries('leading'),
		variance_type: oneOf(VARIANCES, 'fixed_small'),
	},
	(config, { steps, batch }) => {
		const variance = config.variance_type;
		checkStepsWithin('ddpm', steps, config.num_train_timesteps);
		if (variance === 'fixed_large_log') {
			refuse(
				'ddpm',
				'variance_type "fixed_large_log" is not supported (diffusers takes the root of a negative number there); use "fixed_large".',
			);
		}
		const learned = variance === 'learned' || variance === 'learned_range';
		const schedule = scheduleOf(config);
		const timesteps = spacedTimesteps(config, steps);
		const table = tableOf('ddpm', schedule, timesteps);

		const predictOriginal = (output: Float32Array, call: number, sample: Float32Array) => {
			const { alpha, sigma } = table.level(timesteps[call] as number);
			const prediction = learned ? half(output, batch, 0) : output;
			return bounded(originalOf(config.prediction_type, prediction, sample, alpha, sigma), config, batch);
		};
		return {
			timesteps,
			outputs: learned ? 2 : 1,
			predictOriginal,
			addNoise: table.addNoise,
			step(output, call, sample, noise) {
				const timestep = timesteps[call] as number;
				const now = table.level(timestep);
				const previous = call + 1 < timesteps.length ? table.level(timesteps[call + 1] as number) : levelOf(1);
				const alpha = now.a / previous.a;
				const beta = 1 - alpha;
				const mean = combine([
					[(previous.alpha * beta) / (1 - now.a), predictOriginal(output, call, sample)],
					[(Math.sqrt(alpha) * (1 - previous.a)) / (1 - now.a), sample],
				]);
				if (timestep === 0) return mean;
				const drawn = noise();
				const small = Math.max(((1 - previous.a) / (1 - now.a)) * beta, 1e-20);
				if (!learned) {
					return combine([
						[1, mean],
						[Math.sqrt(variance === 'fixed_large' ? beta : small), drawn],
					]);
				}
				const predicted = half(output, batch, 1);
				const deviationOf =
					variance === 'learned'
						? Math.sqrt
						: (x: number) => Math.exp(0.5 * (((x + 1) / 2) * Math.log(beta) + (1 - (x + 1) / 2) * Math.log(small)));
				return mean.map((x, i) => x + deviationOf(predicted[i] as number) * (drawn[i] as number));
			},
		};
	},
);

/** The first or second half of the channels of every picture. */
function half(output: Float32Array, batch: number, which: 0 | 1): Float32Array {
	const size = output.length / batch / 2;
	const result = new Float32Array(output.length / 2);
	for (let b = 0; b < batch; b++) result.set(output.subarray((2 * b + which) * size, (2 * b + which + 1) * size), b * size);
	return result;
}
