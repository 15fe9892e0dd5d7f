import { addNoise, alphaAt } from './add-noise.js';
import { refuse } from './config.js';
import type { NoiseSchedule } from './noise-schedule.js';
import type { SchedulerKind } from './scheduler.js';

/** Shares of signal and noise at a timestep: alpha = sqrt(a), sigma = sqrt(1 - a). */
export interface Level {
	readonly a: number;
	readonly alpha: number;
	readonly sigma: number;
}

export function levelOf(a: number): Level {
	return { a, alpha: Math.sqrt(a), sigma: Math.sqrt(1 - a) };
}

/** What the kinds that go by the table of training timesteps share: DDPM, DDIM, PNDM, LCM. */
export interface Table {
	level(timestep: number): Level;
	addNoise(original: Float32Array, noise: Float32Array, call: number): Float32Array;
}

/** @throws {FormatError} E_CONFIG when a timestep is not in the table (`steps_offset` beyond the end) */
export function tableOf(kind: SchedulerKind, schedule: NoiseSchedule, timesteps: readonly number[]): Table {
	const size = schedule.alphasCumprod.length;
	const beyond = timesteps.find((t) => !(t >= 0 && t < size));
	if (beyond !== undefined)
		refuse(
			kind,
			`these steps ask for timestep ${beyond}, and timesteps go from 0 to ${size - 1}; use fewer steps or a smaller steps_offset.`,
		);
	return {
		level: (timestep) => levelOf(alphaAt(schedule, timestep)),
		addNoise: (original, noise, call) => addNoise(schedule, original, noise, timesteps[call] as number),
	};
}

/** No more steps than training timesteps. @throws {FormatError} E_CONFIG */
export function checkStepsWithin(kind: SchedulerKind, steps: number, trained: number): void {
	if (steps > trained)
		refuse(kind, `${steps} steps; the model was trained with ${trained} timesteps, and this scheduler takes at most as many.`);
}
