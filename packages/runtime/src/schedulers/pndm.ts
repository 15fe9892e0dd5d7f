import { combine, type Term } from './combine.js';
import { flag, predictionEntries, refuse, type SchedulerClass, schedulerClass, spacingEntries } from './config.js';
import { betaEntries, scheduleOf } from './noise-schedule.js';
import { noiseOf, originalOf } from './prediction.js';
import { checkStepsWithin, type Level, levelOf, tableOf } from './table.js';
import { type SpacingConfig, spacedTimesteps } from './timesteps.js';

/** Timesteps that the Runge-Kutta start goes over, in four calls each. */
const ORDER = 4;
/** Weights of the last model outputs, latest first, by how many there are (Adams-Bashforth). */
const MULTISTEP: readonly (readonly number[])[] = [
	[1],
	[3 / 2, -1 / 2],
	[23 / 12, -16 / 12, 5 / 12],
	[55 / 24, -59 / 24, 37 / 24, -9 / 24],
];
const RUNGE_KUTTA = [1 / 6, 1 / 3, 1 / 3, 1 / 6];

/**
 * Pseudo numerical methods for diffusion models, arXiv 2202.09778, formulas (9) to (13); rules and defaults of
 * diffusers' src/diffusers/schedulers/scheduling_pndm.py. With `skip_prk_steps` (Stable Diffusion) the second timestep
 * is called twice; without, three timesteps are gone over by Runge-Kutta first. Counts calls from where a run begins,
 * also in image-to-image: diffusers' class has no begin index.
 */
export const pndm: SchedulerClass = schedulerClass(
	'pndm',
	'PNDMScheduler',
	{
		...betaEntries(),
		...predictionEntries(['epsilon', 'v_prediction']),
		...spacingEntries('leading'),
		skip_prk_steps: flag(false),
		set_alpha_to_one: flag(false),
	},
	(config, { steps, begin }) => {
		const trained = config.num_train_timesteps;
		checkStepsWithin('pndm', steps, trained);
		const schedule = scheduleOf(config);
		const ratio = Math.floor(trained / steps);
		const { starting, timesteps } = pndmTimesteps(config, steps, config.skip_prk_steps);
		const table = tableOf('pndm', schedule, timesteps);
		const final = levelOf(config.set_alpha_to_one ? 1 : (schedule.alphasCumprod[0] as number));
		const levelAt = (timestep: number) => (timestep >= 0 ? table.level(timestep) : final);

		const outputs: Float32Array[] = [];
		/** Where the current group of calls started. */
		let origin: Float32Array | undefined;
		let rungeKutta: Term[] = [];

		/** Formula (9): from one timestep to another along a given output. */
		const transfer = (sample: Float32Array, from: Level, to: Level, output: Float32Array) => {
			const noise = noiseOf(config.prediction_type, output, sample, from.alpha, from.sigma);
			const denominator = from.a * to.sigma + Math.sqrt(from.a * (1 - from.a) * to.a);
			return combine([
				[Math.sqrt(to.a / from.a), sample],
				[-(to.a - from.a) / denominator, noise],
			]);
		};

		const rungeKuttaStep = (output: Float32Array, count: number, timestep: number, sample: Float32Array) => {
			const stage = count % 4;
			if (stage === 0) {
				outputs.push(output.slice());
				origin = sample.slice();
				rungeKutta = [];
			}
			rungeKutta.push([RUNGE_KUTTA[stage] as number, output.slice()]);
			const to = timestep - (stage % 2 === 1 ? 0 : Math.floor(ratio / 2));
			const along = stage === 3 ? combine(rungeKutta) : output;
			return transfer(origin ?? sample, levelAt(starting[count - stage] as number), levelAt(to), along);
		};

		const multistep = (output: Float32Array, count: number, timestep: number, sample: Float32Array) => {
			if (count !== 1) {
				outputs.splice(0, Math.max(outputs.length - 3, 0));
				outputs.push(output.slice());
			}
			if (count === 1) {
				// The same step as the first call, again from its start, with the mean of both outputs.
				const mean = combine([
					[0.5, output],
					[0.5, outputs[0] as Float32Array],
				]);
				const from = origin ?? sample;
				origin = undefined;
				return transfer(from, levelAt(timestep + ratio), levelAt(timestep), mean);
			}
			if (count === 0) origin = sample.slice();
			const weights = MULTISTEP[outputs.length - 1] as readonly number[];
			const along = combine(weights.map((w, i): Term => [w, outputs[outputs.length - 1 - i] as Float32Array]));
			return transfer(sample, levelAt(timestep), levelAt(timestep - ratio), along);
		};

		return {
			timesteps,
			predictOriginal(output, call, sample) {
				const { alpha, sigma } = table.level(timesteps[call] as number);
				return originalOf(config.prediction_type, output, sample, alpha, sigma);
			},
			addNoise: table.addNoise,
			step(output, call, sample) {
				const count = call - begin;
				const rule = count < starting.length ? rungeKuttaStep : multistep;
				return rule(output, count, timesteps[call] as number, sample);
			},
		};
	},
);

/** All timesteps, and those of the Runge-Kutta start. @throws {FormatError} E_CONFIG: too few steps for that start */
function pndmTimesteps(config: SpacingConfig, steps: number, skipStart: boolean): { starting: number[]; timesteps: number[] } {
	const down = spacedTimesteps(config, steps);
	if (skipStart) return { starting: [], timesteps: [...down.slice(0, 2), ...down.slice(1)] };
	if (steps < ORDER) refuse('pndm', `${steps} steps; without skip_prk_steps it takes at least ${ORDER}.`);
	const half = Math.floor(Math.floor(config.num_train_timesteps / steps) / 2);
	// Each of the highest timesteps with the middle of the way to the one above, each twice, without the two ends.
	const twice = down
		.slice(0, ORDER)
		.reverse()
		.flatMap((t) => [t, t + half])
		.slice(0, -1)
		.flatMap((t) => [t, t]);
	const starting = twice.slice(1, -1).reverse();
	return { starting, timesteps: [...starting, ...down.slice(3)] };
}
