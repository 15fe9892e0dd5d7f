import * as v from 'valibot';
import { combine, type Term } from './combine.js';
import {
	flag,
	numberOption,
	offOnly,
	oneOf,
	option,
	predictionEntries,
	type Run,
	refuse,
	type SchedulerClass,
	schedulerClass,
	spacingEntries,
	thresholdEntries,
	wholeOption,
} from './config.js';
import { type DpmAlgorithm, type DpmSolverType, dpmTerms } from './dpmsolver-terms.js';
import type { Rule } from './make-scheduler.js';
import { LEAST_ALPHA, rescalableBetaEntries, scheduleOf } from './noise-schedule.js';
import { noiseOf, originalPredictor } from './prediction.js';
import type { SchedulerKind } from './scheduler.js';
import { checkSigmaConfig, sigmaEntries } from './sigmas.js';
import { mixOf, solverRun } from './solver-sigmas.js';
import { solverTimesteps } from './timesteps.js';

const f32 = Math.fround;
/** Below so many steps the last ones fall back to lower orders. */
const FEW_STEPS = 15;

/**
 * DPM-Solver++ (arXiv 2211.01095; and DPM-Solver, 2206.00927), multistep, orders 1 to 3, deterministic; rules and
 * defaults of diffusers' src/diffusers/schedulers/scheduling_dpmsolver_multistep.py.
 */
export const dpmsolver: SchedulerClass = schedulerClass(
	'dpmsolver++',
	'DPMSolverMultistepScheduler',
	dpmEntries('dpmsolver++'),
	(config, run) => dpmRule('dpmsolver++', config, run),
);

/** The same with the stochastic algorithms. Draws noise in every call, in the last too, where its factor may be 0. */
export const dpmsolverSde: SchedulerClass = schedulerClass(
	'dpmsolver++-sde',
	'DPMSolverMultistepScheduler',
	dpmEntries('sde-dpmsolver++'),
	(config, run) => dpmRule('dpmsolver++-sde', config, run),
);

function dpmEntries(algorithm: DpmAlgorithm) {
	return {
		...rescalableBetaEntries(),
		...predictionEntries(['epsilon', 'sample', 'v_prediction']),
		...thresholdEntries(),
		...spacingEntries('linspace'),
		...sigmaEntries(),
		solver_order: wholeOption(2, 1, 3),
		algorithm_type: oneOf<DpmAlgorithm>(['dpmsolver++', 'sde-dpmsolver++', 'dpmsolver', 'sde-dpmsolver'], algorithm),
		// The last three are other classes' names, which diffusers takes for midpoint.
		solver_type: oneOf(['midpoint', 'heun', 'logrho', 'bh1', 'bh2'], 'midpoint'),
		lower_order_final: flag(true),
		euler_at_final: flag(false),
		use_lu_lambdas: flag(false),
		final_sigmas_type: oneOf(['zero', 'sigma_min'], 'zero'),
		lambda_min_clipped: numberOption(Number.NEGATIVE_INFINITY),
		variance_type: option<string | null>(v.nullable(v.string()), null),
		use_flow_sigmas: offOnly('flow matching'),
		flow_shift: numberOption(1),
		use_dynamic_shifting: offOnly('dynamic shifting'),
		time_shift_type: option(v.string(), 'exponential'),
	};
}

type DpmConfig = v.InferOutput<v.StrictObjectSchema<ReturnType<typeof dpmEntries>, undefined>>;

function dpmRule(kind: SchedulerKind, config: DpmConfig, { steps, batch }: Run): Rule {
	checkDpmConfig(kind, config);
	const { solver_order: order, prediction_type: prediction, algorithm_type: algorithm } = config;
	const schedule = scheduleOf(config, LEAST_ALPHA);
	const end = config.num_train_timesteps - clippedTimesteps(schedule.alphasCumprod, config.lambda_min_clipped);
	if (end < 1) refuse(kind, `lambda_min_clipped is ${config.lambda_min_clipped}, above every timestep of this noise schedule.`);
	const last = config.final_sigmas_type === 'zero' ? 0 : (schedule.sigmas[0] as number);
	const run = solverRun({
		config,
		lu: config.use_lu_lambdas,
		table: schedule.sigmas,
		spaced: solverTimesteps(config, steps, end),
		steps,
		rounded: config.beta_schedule !== 'squaredcos_cap_v2',
		last: () => last,
	});
	const calls = run.timesteps.length;
	const mixes = Array.from(run.sigmas, mixOf);
	const solverType: DpmSolverType = config.solver_type === 'heun' ? 'heun' : 'midpoint';
	const few = config.lower_order_final && calls < FEW_STEPS;
	const byOriginal = algorithm === 'dpmsolver++' || algorithm === 'sde-dpmsolver++';
	const stochastic = algorithm === 'sde-dpmsolver++' || algorithm === 'sde-dpmsolver';
	/** Converted model outputs, latest first. */
	const outputs: Float32Array[] = [];

	const predictOriginal = originalPredictor(prediction, config, batch, (call) => mixOf(run.sigmas[call] as number));
	const converted = (output: Float32Array, call: number, sample: Float32Array) => {
		if (byOriginal) return predictOriginal(output, call, sample);
		const { alpha, sigma } = mixOf(run.sigmas[call] as number);
		if (!config.thresholding) return noiseOf(prediction, output, sample, alpha, sigma);
		return noiseOf('sample', predictOriginal(output, call, sample), sample, alpha, sigma);
	};
	const orderOf = (call: number) => {
		const atEnd = call === calls - 1 && (config.euler_at_final || few || config.final_sigmas_type === 'zero');
		if (atEnd) return 1;
		return Math.min(outputs.length, call === calls - 2 && few ? 2 : order);
	};
	return {
		...run,
		predictOriginal,
		step(output, call, sample, noise) {
			outputs.unshift(converted(output, call, sample));
			outputs.splice(order);
			const { kept, factors, noise: factor } = dpmTerms(algorithm, solverType, orderOf(call), mixes, call);
			const terms: Term[] = [[kept, sample], ...factors.map((f, i): Term => [f, outputs[i] as Float32Array])];
			if (stochastic) terms.push([factor, noise()]);
			return combine(terms);
		},
	};
}

function checkDpmConfig(kind: SchedulerKind, config: DpmConfig): void {
	checkSigmaConfig(kind, config);
	const algorithm = config.algorithm_type;
	const expected = kind === 'dpmsolver++-sde' ? ['sde-dpmsolver++', 'sde-dpmsolver'] : ['dpmsolver++', 'dpmsolver'];
	if (!expected.includes(algorithm)) refuse(kind, `algorithm_type is "${algorithm}"; of this kind are ${expected.join(' and ')}.`);
	const old = algorithm === 'dpmsolver' || algorithm === 'sde-dpmsolver';
	if (old && config.final_sigmas_type === 'zero') {
		refuse(kind, `algorithm_type "${algorithm}" cannot go to noise level zero; set final_sigmas_type to "sigma_min".`);
	}
	if (algorithm === 'sde-dpmsolver' && config.solver_order === 3) {
		refuse(kind, 'algorithm_type "sde-dpmsolver" has no solver_order 3; use 1 or 2, or "sde-dpmsolver++".');
	}
	if (config.variance_type === 'learned' || config.variance_type === 'learned_range') {
		refuse(
			kind,
			`variance_type "${config.variance_type}" (a model that predicts variances) is not supported by this scheduler; ddpm has it.`,
		);
	}
}

/** Timesteps whose log(alpha / sigma) lies below a bound; they are the noisiest. In float32, as torch.searchsorted has it. */
function clippedTimesteps(alphasCumprod: Float32Array, bound: number): number {
	const least = f32(bound);
	const lambda = (a: number) => f32(f32(Math.log(f32(Math.sqrt(a)))) - f32(Math.log(f32(Math.sqrt(f32(1 - a))))));
	return alphasCumprod.reduce((count, a) => (lambda(a) < least ? count + 1 : count), 0);
}
