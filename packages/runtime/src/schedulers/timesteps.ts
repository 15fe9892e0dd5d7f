import type { TimestepSpacing } from './config.js';
import { arangeDown, linspace, roundHalfEven } from './float32.js';

/** What spaced timesteps are made from. */
export interface SpacingConfig {
	readonly num_train_timesteps: number;
	readonly timestep_spacing: TimestepSpacing;
	readonly steps_offset: number;
}

/**
 * Descending whole timesteps of DDPM, DDIM and PNDM: `linspace` from end to end, `leading` from 0 upward by a whole
 * ratio, `trailing` from the last downward (Table 2 of arXiv 2305.08891; diffusers scheduling_ddim.py set_timesteps).
 */
export function spacedTimesteps(config: SpacingConfig, steps: number): number[] {
	return config.timestep_spacing === 'linspace' ? linspaceDown(config, steps).map(roundHalfEven) : leadingOrTrailing(config, steps);
}

/** Those of Euler, Heun and LMS: float32, and `linspace` is not rounded (scheduling_euler_discrete.py). */
export function fractionalTimesteps(config: SpacingConfig, steps: number): number[] {
	return (config.timestep_spacing === 'linspace' ? linspaceDown(config, steps) : leadingOrTrailing(config, steps)).map(Math.fround);
}

/**
 * Those of DPM-Solver and UniPC: as if there were one step more, whose timestep, the lowest, is left out
 * (scheduling_dpmsolver_multistep.py).
 *
 * @param end one past the highest timestep (`lambda_min_clipped` lowers it)
 */
export function solverTimesteps(config: SpacingConfig, steps: number, end: number): number[] {
	switch (config.timestep_spacing) {
		case 'linspace':
			return linspace(0, end - 1, steps + 1)
				.map(roundHalfEven)
				.reverse()
				.slice(0, -1);
		case 'leading':
			return leading(Math.floor(end / (steps + 1)), steps + 1, config.steps_offset).slice(0, -1);
		case 'trailing':
			return trailing(end, config.num_train_timesteps / steps);
	}
}

function linspaceDown(config: SpacingConfig, steps: number): number[] {
	return linspace(0, config.num_train_timesteps - 1, steps).reverse();
}

function leadingOrTrailing(config: SpacingConfig, steps: number): number[] {
	const count = config.num_train_timesteps;
	if (config.timestep_spacing === 'leading') return leading(Math.floor(count / steps), steps, config.steps_offset);
	return trailing(count, count / steps);
}

function leading(ratio: number, count: number, offset: number): number[] {
	return Array.from({ length: count }, (_, i) => (count - 1 - i) * ratio + offset);
}

function trailing(end: number, step: number): number[] {
	return arangeDown(end, step).map((t) => roundHalfEven(t) - 1);
}
