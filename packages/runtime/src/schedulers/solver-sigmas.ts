import { combine } from './combine.js';
import { interpolate, linspace, roundHalfEven } from './float32.js';
import { logSigmas, respacedSigmas, type SigmaConfig, sigmaToTimestep } from './sigmas.js';

/** Timesteps and noise levels of a DPM-Solver or UniPC run. */
export interface SolverRun {
	readonly timesteps: readonly number[];
	/** One more than timesteps. */
	readonly sigmas: Float32Array;
	addNoise(original: Float32Array, noise: Float32Array, call: number): Float32Array;
}

export interface SolverSigmaOptions {
	readonly config: SigmaConfig;
	/** Evenly spaced log signal-to-noise (`use_lu_lambdas`). */
	readonly lu?: boolean;
	/** sqrt((1 - a) / a) of every training timestep. */
	readonly table: Float32Array;
	/** Timesteps where no other spacing is asked for. */
	readonly spaced: readonly number[];
	readonly steps: number;
	/** Are the timesteps of Karras' (and Lu's) spacing rounded? Else cut off, as those of the others are. */
	readonly rounded: boolean;
	/** The level at the end, from the levels before it. */
	last(sigmas: readonly number[], respaced: boolean): number;
}

/** `set_timesteps` of both classes, from the spaced timesteps on. */
export function solverRun(options: SolverSigmaOptions): SolverRun {
	const { config, table, spaced, steps } = options;
	const logs = logSigmas(table);
	const top = table.length - 1;
	let respaced = respacedSigmas(config, table[top] as number, table[0] as number, steps);
	if (!config.use_karras_sigmas && options.lu === true) {
		respaced = linspace(0, 1, steps).map((ramp) => Math.exp((logs[top] as number) + ramp * ((logs[0] as number) - (logs[top] as number))));
	}
	const round = options.rounded && (config.use_karras_sigmas || options.lu === true) ? roundHalfEven : Math.trunc;
	const timesteps = respaced === undefined ? spaced : respaced.map((sigma) => round(sigmaToTimestep(sigma, logs)));
	const levels = respaced ?? spaced.map((t) => interpolate(t, table));
	const sigmas = Float32Array.from([...levels, options.last(levels, respaced !== undefined)]);
	return {
		timesteps,
		sigmas,
		addNoise(original, noise, call) {
			const { alpha, sigma } = mixOf(sigmas[call] as number);
			return combine([
				[alpha, original],
				[sigma, noise],
			]);
		},
	};
}

/** Signal and noise of a sample at a ratio of noise to signal: alpha^2 + sigma^2 = 1; lambda = log(alpha / sigma). */
export interface Mix {
	readonly alpha: number;
	readonly sigma: number;
	readonly lambda: number;
}

export function mixOf(ratio: number): Mix {
	const alpha = 1 / Math.sqrt(ratio * ratio + 1);
	return { alpha, sigma: ratio * alpha, lambda: -Math.log(ratio) };
}
