import { FormatError } from '@lorakit/format';
import * as v from 'valibot';
import { flag, MAX_TRAIN_TIMESTEPS, numberOption, type Option, oneOf, option, wholeOption } from './config.js';
import { linspace32 } from './float32.js';
import type { SchedulerConfig } from './scheduler.js';

const f32 = Math.fround;

export const BETA_SCHEDULES = ['linear', 'scaled_linear', 'squaredcos_cap_v2'] as const;

/** `laplace` and `sigmoid` are DDPM's alone, `exp` is Heun's. */
export type BetaSchedule = (typeof BETA_SCHEDULES)[number] | 'laplace' | 'sigmoid' | 'exp';

/** The options that make the noise schedule, filled in. */
export interface BetaConfig {
	readonly num_train_timesteps: number;
	readonly beta_start: number;
	readonly beta_end: number;
	readonly beta_schedule: BetaSchedule;
	readonly trained_betas: readonly number[] | null;
	readonly rescale_betas_zero_snr?: boolean;
}

/**
 * Tables over the training timesteps, float32 as torch makes them. `a` is the share of signal in the variance:
 * a noised sample is sqrt(a) x0 + sqrt(1 - a) noise.
 */
export interface NoiseSchedule {
	readonly betas: Float32Array;
	/** `a`. */
	readonly alphasCumprod: Float32Array;
	/** sqrt((1 - a) / a). */
	readonly sigmas: Float32Array;
	/** a / (1 - a), the signal-to-noise ratio of loss weights (diffusers' `compute_snr`, src/diffusers/training_utils.py). */
	readonly snr: Float32Array;
}

/** Option table of {@link BetaConfig}; the defaults of most classes. */
export type BetaEntries = {
	readonly num_train_timesteps: Option<number>;
	readonly beta_start: Option<number>;
	readonly beta_end: Option<number>;
	readonly beta_schedule: Option<BetaSchedule>;
	readonly trained_betas: Option<readonly number[] | null>;
};

interface BetaDefaults {
	readonly start?: number;
	readonly end?: number;
	readonly schedule?: BetaSchedule;
	readonly more?: readonly BetaSchedule[];
}

export function betaEntries(defaults: BetaDefaults = {}): BetaEntries {
	const { start = 0.0001, end = 0.02, schedule = 'linear', more = [] } = defaults;
	return {
		num_train_timesteps: wholeOption(1000, 1, MAX_TRAIN_TIMESTEPS),
		beta_start: numberOption(start, 0, 1),
		beta_end: numberOption(end, 0, 1),
		beta_schedule: oneOf<BetaSchedule>([...BETA_SCHEDULES, ...more], schedule),
		trained_betas: option<readonly number[] | null>(v.nullable(v.array(v.pipe(v.number(), v.minValue(0), v.maxValue(1)))), null),
	};
}

/** {@link betaEntries} of a class that can rescale to zero terminal SNR. */
export function rescalableBetaEntries(defaults: BetaDefaults = {}): BetaEntries & { readonly rescale_betas_zero_snr: Option<boolean> } {
	return { ...betaEntries(defaults), rescale_betas_zero_snr: flag(false) };
}

/** Any schedule, its options looked up in a whole scheduler configuration. */
const looseSchema = v.object(rescalableBetaEntries({ more: ['laplace', 'sigmoid', 'exp'] }));

/**
 * The noise schedule of a scheduler configuration, for training: `add_noise`, velocity, SNR weights. Options that do
 * not bear on it are not looked at.
 *
 * @throws {FormatError} E_CONFIG
 */
export function noiseSchedule(config: SchedulerConfig): NoiseSchedule {
	const result = v.safeParse(looseSchema, config);
	if (result.success) return scheduleOf(result.output);
	const [issue] = result.issues;
	throw new FormatError(
		'E_CONFIG',
		`The noise schedule: ${v.getDotPath(issue) ?? 'the configuration'} is ${issue.received}; supported is ${issue.expected}.`,
	);
}

/**
 * The same from checked options.
 *
 * @param leastAlpha what the last `a` becomes under `rescale_betas_zero_snr`: the classes that go by sigmas cannot
 *   have 0 and put 2^-24, the smallest positive float16
 */
export function scheduleOf(config: BetaConfig, leastAlpha?: number): NoiseSchedule {
	let betas = betasOf(config);
	if (config.rescale_betas_zero_snr === true) betas = rescaled(betas);
	const alphasCumprod = cumulative(betas);
	if (config.rescale_betas_zero_snr === true && leastAlpha !== undefined) alphasCumprod[alphasCumprod.length - 1] = leastAlpha;
	return {
		betas,
		alphasCumprod,
		sigmas: alphasCumprod.map((a) => Math.sqrt(f32(f32(1 - a) / a))),
		snr: alphasCumprod.map((a) => f32(f32(Math.sqrt(a)) / f32(Math.sqrt(f32(1 - a)))) ** 2),
	};
}

/** What classes by sigmas put in place of a zero `a`. */
export const LEAST_ALPHA: number = 2 ** -24;

function betasOf(config: BetaConfig): Float32Array {
	const { num_train_timesteps: count, beta_start: start, beta_end: end, trained_betas: trained } = config;
	if (trained !== null) {
		if (trained.length === count) return Float32Array.from(trained);
		throw new FormatError(
			'E_CONFIG',
			`trained_betas has ${trained.length} values; num_train_timesteps is ${count}, and there is one for each.`,
		);
	}
	switch (config.beta_schedule) {
		case 'linear':
			return linspace32(start, end, count);
		case 'scaled_linear':
			return linspace32(Math.sqrt(start), Math.sqrt(end), count).map((x) => x * x);
		case 'sigmoid':
			return linspace32(-6, 6, count).map((x) => f32(f32(1 / (1 + Math.exp(-x))) * f32(end - start)) + start);
		case 'squaredcos_cap_v2':
			return betasForAlphaBar(count, (t) => Math.cos((((t + 0.008) / 1.008) * Math.PI) / 2) ** 2);
		case 'exp':
			return betasForAlphaBar(count, (t) => Math.exp(t * -12));
		case 'laplace':
			return betasForAlphaBar(count, laplaceAlphaBar);
	}
}

/** Betas whose cumulated alphas follow a function of t in [0, 1]; none above 0.999. */
function betasForAlphaBar(count: number, alphaBar: (t: number) => number): Float32Array {
	return Float32Array.from({ length: count }, (_, i) => Math.min(1 - alphaBar((i + 1) / count) / alphaBar(i / count), 0.999));
}

function laplaceAlphaBar(t: number): number {
	const lambda = -0.5 * (t > 0.5 ? -1 : 1) * Math.log(1 - 2 * Math.abs(0.5 - t) + 1e-6);
	const snr = Math.exp(lambda);
	return Math.sqrt(snr / (1 + snr));
}

/** torch.cumprod of 1 - betas: carried in float64, stored in float32. */
function cumulative(betas: Float32Array): Float32Array {
	let product = 1;
	return betas.map((beta) => {
		product *= f32(1 - beta);
		return product;
	});
}

/** Algorithm 1 of "Common diffusion noise schedules and sample steps are flawed" (arXiv 2305.08891), in float32. */
function rescaled(betas: Float32Array): Float32Array {
	const roots = cumulative(betas).map((a) => Math.sqrt(a));
	const first = roots[0] as number;
	const last = roots[roots.length - 1] as number;
	const stretch = f32(first / f32(first - last));
	const bars = roots.map((root) => f32(f32(root - last) * stretch) ** 2);
	return bars.map((bar, i) => 1 - (i === 0 ? bar : f32(bar / (bars[i - 1] as number))));
}
