/**
 * The samplers of `lora generate --scheduler`. `dpmsolver++` and `dpmsolver++-sde` are diffusers'
 * DPMSolverMultistepScheduler with its deterministic and its stochastic algorithms.
 */
export const SCHEDULER_KINDS = [
	'dpmsolver++',
	'dpmsolver++-sde',
	'ddim',
	'pndm',
	'euler',
	'euler_a',
	'heun',
	'lms',
	'ddpm',
	'unipc',
	'lcm',
] as const;

export type SchedulerKind = (typeof SCHEDULER_KINDS)[number];

/** What the model's output is: the noise, the velocity sqrt(a) noise - sqrt(1 - a) x0, or x0 itself. */
export type PredictionType = 'epsilon' | 'v_prediction' | 'sample';

/**
 * Options by diffusers' own names (`scheduler_config.json`). One left out takes the default of the kind's class.
 * Checked by {@link createScheduler} and {@link schedulerConfigFor}: an option that the class does not have, an
 * unknown value and a value that this runtime does not support are refused with `E_CONFIG`.
 */
export interface SchedulerConfig {
	readonly [option: string]: unknown;
}

/** How one run goes, apart from the configuration. */
export interface SchedulerOptions {
	/** DDIM only: 0 is deterministic, 1 has DDPM's variance. Default 0. */
	readonly eta?: number;
	/**
	 * The first call of an image-to-image run, an index into `timesteps`; see `imageToImageStart`. What diffusers
	 * does by `set_begin_index` (and, for kinds without it, by handing over the rest of the timesteps). Default 0.
	 */
	readonly begin?: number;
	/** Pictures in one sample array. Only dynamic thresholding and learned variances treat them apart. Default 1. */
	readonly batch?: number;
}

/**
 * One sampling run. Calls go from `begin` to the end of `timesteps`, each once and in order: multistep kinds keep
 * what came before. Samples, outputs and noise are float32 of one length, `(batch, channels, height, width)` row-major;
 * arguments are never changed, results are new arrays.
 */
export interface Scheduler {
	readonly kind: SchedulerKind;
	/** What the model is told, one per model call (PNDM: steps + 1, Heun: 2 steps - 1). */
	readonly timesteps: Float64Array;
	/** Noise level of each call and of the end, for the kinds that go by noise levels (float32 values, noise / signal). */
	readonly sigmas: Float32Array | undefined;
	/** Factor for unit noise at the start of a run from noise alone. Not for image-to-image: there `addNoise` does it. */
	readonly initNoiseSigma: number;
	/** The model's input for a call. */
	scaleInput(sample: Float32Array, call: number): Float32Array;
	/**
	 * The sample after a call.
	 *
	 * @param noise draws unit noise of the sample's length; asked at most once in a call, and only by kinds that use it
	 * @throws {FormatError} E_USAGE: calls out of order, no `noise` where it is needed; E_SHAPE: lengths that do not fit
	 */
	step(output: Float32Array, call: number, sample: Float32Array, noise?: () => Float32Array): Float32Array;
	/** What the model's output says the finished sample is (for previews). Changes no state. Clipped as the step would. */
	predictOriginal(output: Float32Array, call: number, sample: Float32Array): Float32Array;
	/** `original` with as much noise as the sample has at a call: the start of image-to-image. */
	addNoise(original: Float32Array, noise: Float32Array, call: number): Float32Array;
}
