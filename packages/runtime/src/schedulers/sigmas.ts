import { symmetricBetaQuantile } from './beta-quantile.js';
import { flag, maybeNumber, type Option, refuse } from './config.js';
import { linspace, log32 } from './float32.js';
import type { SchedulerKind } from './scheduler.js';

const KARRAS_RHO = 7;
/** Both parameters of the beta distribution of arXiv 2407.12173. */
const BETA = 0.6;

/** Which other spacing of noise levels is asked for. */
export interface SigmaConfig {
	readonly use_karras_sigmas: boolean;
	readonly use_exponential_sigmas: boolean;
	readonly use_beta_sigmas: boolean;
	readonly sigma_min: number | null;
	readonly sigma_max: number | null;
}

/** Option table of {@link SigmaConfig}. diffusers looks for sigma_min and sigma_max in any class's configuration. */
export interface SigmaEntries {
	readonly use_karras_sigmas: Option<boolean>;
	readonly use_exponential_sigmas: Option<boolean>;
	readonly use_beta_sigmas: Option<boolean>;
	readonly sigma_min: Option<number | null>;
	readonly sigma_max: Option<number | null>;
}

export function sigmaEntries(): SigmaEntries {
	return {
		use_karras_sigmas: flag(false),
		use_exponential_sigmas: flag(false),
		use_beta_sigmas: flag(false),
		sigma_min: maybeNumber(),
		sigma_max: maybeNumber(),
	};
}

/** At most one spacing. @throws {FormatError} E_CONFIG */
export function checkSigmaConfig(kind: SchedulerKind, config: SigmaConfig): void {
	const on = [config.use_karras_sigmas, config.use_exponential_sigmas, config.use_beta_sigmas].filter(Boolean).length;
	if (on > 1) refuse(kind, 'use_karras_sigmas, use_exponential_sigmas and use_beta_sigmas exclude each other; switch on one.');
	for (const name of ['sigma_min', 'sigma_max'] as const) {
		const value = config[name];
		if (value !== null && !(value > 0 && value < Number.POSITIVE_INFINITY)) refuse(kind, `${name} is ${value}; it is positive.`);
	}
}

/**
 * `count` noise levels from the highest to the lowest, or undefined when none of the spacings is switched on:
 * Karras' rho 7 (arXiv 2206.00364), exponential, or by quantiles of the beta distribution.
 *
 * @param highest and @param lowest unless the configuration says others
 */
export function respacedSigmas(config: SigmaConfig, highest: number, lowest: number, count: number): number[] | undefined {
	const max = config.sigma_max ?? highest;
	const min = config.sigma_min ?? lowest;
	if (config.use_karras_sigmas) return karrasSigmas(max, min, count);
	if (config.use_exponential_sigmas) return linspace(Math.log(max), Math.log(min), count).map(Math.exp);
	if (config.use_beta_sigmas) return linspace(0, 1, count).map((x) => min + symmetricBetaQuantile(1 - x, BETA) * (max - min));
	return undefined;
}

/** Evenly spaced in sigma^(1/7). */
export function karrasSigmas(max: number, min: number, count: number): number[] {
	const [top, bottom] = [max ** (1 / KARRAS_RHO), min ** (1 / KARRAS_RHO)];
	return linspace(0, 1, count).map((ramp) => (top + ramp * (bottom - top)) ** KARRAS_RHO);
}

/** numpy's float32 logarithms of a sigma table. */
export function logSigmas(sigmas: Float32Array): Float32Array {
	return sigmas.map(log32);
}

/** The fractional timestep at a noise level, by interpolation in the logarithm (`_sigma_to_t` of every such class). */
export function sigmaToTimestep(sigma: number, logs: Float32Array): number {
	const log = Math.log(Math.max(sigma, 1e-10));
	let below = 0;
	for (let i = 0; i < logs.length; i++) if (log >= (logs[i] as number)) below = i;
	below = Math.max(Math.min(below, logs.length - 2), 0);
	const low = logs[below] as number;
	const high = logs[below + 1] ?? low;
	const w = Math.min(Math.max((low - log) / Math.fround(low - high), 0), 1);
	return (1 - w) * below + w * (below + 1);
}
