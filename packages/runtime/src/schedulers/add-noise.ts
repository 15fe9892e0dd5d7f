import { FormatError } from '@lorakit/format';
import { combine } from './combine.js';
import type { NoiseSchedule } from './noise-schedule.js';

/**
 * sqrt(a) original + sqrt(1 - a) noise at a training timestep: diffusers' `add_noise` of DDPM, DDIM, PNDM and LCM
 * (src/diffusers/schedulers/scheduling_ddpm.py).
 *
 * @throws {FormatError} E_SHAPE: lengths differ; E_USAGE: no such timestep
 */
export function addNoise(schedule: NoiseSchedule, original: Float32Array, noise: Float32Array, timestep: number): Float32Array {
	sameLength(original, noise);
	const a = alphaAt(schedule, timestep);
	return combine([
		[Math.sqrt(a), original],
		[Math.sqrt(1 - a), noise],
	]);
}

/** sqrt(a) noise - sqrt(1 - a) original: the target of v-prediction (`get_velocity`, same file). @throws {FormatError} as {@link addNoise} */
export function velocity(schedule: NoiseSchedule, original: Float32Array, noise: Float32Array, timestep: number): Float32Array {
	sameLength(original, noise);
	const a = alphaAt(schedule, timestep);
	return combine([
		[Math.sqrt(a), noise],
		[-Math.sqrt(1 - a), original],
	]);
}

/** Signal-to-noise ratio a / (1 - a) at a training timestep. @throws {FormatError} E_USAGE: no such timestep */
export function snr(schedule: NoiseSchedule, timestep: number): number {
	alphaAt(schedule, timestep);
	return schedule.snr[timestep] as number;
}

/** `a` at a training timestep. @throws {FormatError} E_USAGE: no such timestep */
export function alphaAt(schedule: NoiseSchedule, timestep: number): number {
	const a = schedule.alphasCumprod[timestep];
	if (a !== undefined) return a;
	throw new FormatError(
		'E_USAGE',
		`There is no timestep ${timestep}; the noise schedule goes from 0 to ${schedule.alphasCumprod.length - 1}.`,
	);
}

function sameLength(original: Float32Array, noise: Float32Array): void {
	if (original.length === noise.length) return;
	throw new FormatError('E_SHAPE', `The noise has ${noise.length} elements; expected ${original.length}, as many as the sample.`);
}
