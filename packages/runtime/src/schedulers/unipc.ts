import * as v from 'valibot';
import { combine, type Term } from './combine.js';
import {
	flag,
	numberOption,
	offOnly,
	oneOf,
	option,
	predictionEntries,
	type SchedulerClass,
	schedulerClass,
	spacingEntries,
	thresholdEntries,
	wholeOption,
} from './config.js';
import { LEAST_ALPHA, rescalableBetaEntries, scheduleOf } from './noise-schedule.js';
import { noiseOf, originalPredictor } from './prediction.js';
import { checkSigmaConfig, sigmaEntries } from './sigmas.js';
import { mixOf, solverRun } from './solver-sigmas.js';
import { solverTimesteps } from './timesteps.js';
import { type UniPcForm, unipcFactors } from './unipc-factors.js';

/**
 * Unified predictor-corrector, arXiv 2302.04867; rules and defaults of diffusers'
 * src/diffusers/schedulers/scheduling_unipc_multistep.py. Each call first corrects the sample by the new output, then
 * predicts the next. As in diffusers, `bh1` with `final_sigmas_type` "zero" ends in NaN: its B(h) is infinite there.
 */
export const unipc: SchedulerClass = schedulerClass(
	'unipc',
	'UniPCMultistepScheduler',
	{
		...rescalableBetaEntries(),
		...predictionEntries(['epsilon', 'sample', 'v_prediction']),
		...thresholdEntries(),
		...spacingEntries('linspace'),
		...sigmaEntries(),
		solver_order: wholeOption(2, 1, 4),
		predict_x0: flag(true),
		// The last three are other classes' names, which diffusers takes for bh2.
		solver_type: oneOf(['bh1', 'bh2', 'midpoint', 'heun', 'logrho'], 'bh2'),
		lower_order_final: flag(true),
		disable_corrector: option<readonly number[]>(v.array(v.number()), []),
		solver_p: option<null>(v.null('null only: a predictor of its own is not supported'), null),
		final_sigmas_type: oneOf(['zero', 'sigma_min'], 'zero'),
		use_flow_sigmas: offOnly('flow matching'),
		flow_shift: numberOption(1),
		use_dynamic_shifting: offOnly('dynamic shifting'),
		time_shift_type: option(v.string(), 'exponential'),
		shift_terminal: option<null>(v.null('null only: it belongs to flow matching'), null),
	},
	(config, { steps, batch }) => {
		checkSigmaConfig('unipc', config);
		const { prediction_type: prediction, predict_x0: byOriginal, solver_order: highest } = config;
		const { sigmas: table } = scheduleOf(config, LEAST_ALPHA);
		const run = solverRun({
			config,
			table,
			spaced: solverTimesteps(config, steps, config.num_train_timesteps),
			steps,
			rounded: true,
			last(sigmas, respaced) {
				if (config.final_sigmas_type === 'zero') return 0;
				return respaced ? (sigmas[sigmas.length - 1] as number) : (table[0] as number);
			},
		});
		const calls = run.timesteps.length;
		const form: UniPcForm = { mixes: Array.from(run.sigmas, mixOf), byOriginal, bh1: config.solver_type === 'bh1' };
		/** Converted model outputs, latest first. */
		const outputs: Float32Array[] = [];
		let known = 0;
		let last: { readonly sample: Float32Array; readonly order: number } | undefined;

		const predictOriginal = originalPredictor(prediction, config, batch, (call) => mixOf(run.sigmas[call] as number));
		const converted = (output: Float32Array, call: number, sample: Float32Array) => {
			if (byOriginal) return predictOriginal(output, call, sample);
			const { alpha, sigma } = mixOf(run.sigmas[call] as number);
			return noiseOf(prediction, output, sample, alpha, sigma);
		};
		const summed = (sample: Float32Array, factors: { kept: number; outputs: readonly number[] }, arrays: readonly Float32Array[]) =>
			combine([[factors.kept, sample], ...factors.outputs.map((f, i): Term => [f, arrays[i] as Float32Array])]);

		return {
			...run,
			predictOriginal,
			step(output, call, sample) {
				const current = converted(output, call, sample);
				const corrected =
					last === undefined || config.disable_corrector.includes(call - 1)
						? sample.slice()
						: summed(last.sample, unipcFactors(form, last.order, call - 1, true), [...outputs.slice(0, last.order), current]);
				outputs.unshift(current);
				outputs.splice(highest);
				const order = Math.min(config.lower_order_final ? Math.min(highest, calls - call) : highest, known + 1);
				known = Math.min(known + 1, highest);
				last = { sample: corrected, order };
				return summed(corrected, unipcFactors(form, order, call, false), outputs);
			},
		};
	},
);
