import { FormatError } from '@lorakit/format';
import type { Scheduler, SchedulerKind } from './scheduler.js';

/** What a scheduler class gives for one run; {@link makeScheduler} adds the checks that all share. */
export interface Rule {
	readonly timesteps: ArrayLike<number>;
	/** One more than the timesteps. */
	readonly sigmas?: Float32Array;
	/** Default 1. */
	readonly initNoiseSigma?: number;
	/** Default: the sample itself. */
	scaleInput?(sample: Float32Array, call: number): Float32Array;
	/** `noise` may be asked for; that it is missing is refused there. */
	step(output: Float32Array, call: number, sample: Float32Array, noise: () => Float32Array): Float32Array;
	predictOriginal(output: Float32Array, call: number, sample: Float32Array): Float32Array;
	addNoise(original: Float32Array, noise: Float32Array, call: number): Float32Array;
	/** Elements of the model's output for each of the sample's: 2 where it predicts variances too. Default 1. */
	readonly outputs?: number;
}

/** @throws {FormatError} E_USAGE when `begin` leaves no call */
export function makeScheduler(
	kind: SchedulerKind,
	{ begin, batch }: { readonly begin: number; readonly batch: number },
	rule: Rule,
): Scheduler {
	const timesteps = Float64Array.from(rule.timesteps);
	const calls = timesteps.length;
	if (begin >= calls) {
		throw new FormatError(
			'E_USAGE',
			`Scheduler ${kind}: begin is ${begin}, and the last of ${calls} calls is ${calls - 1}; use a higher strength or more steps.`,
		);
	}
	let next = begin;
	const checkCall = (call: number) => {
		if (Number.isInteger(call) && call >= 0 && call < calls) return;
		throw new FormatError('E_USAGE', `Scheduler ${kind}: there is no call ${call}; calls go from ${begin} to ${calls - 1}.`);
	};
	const checkLength = (what: string, array: Float32Array, length: number) => {
		if (array.length === length) return;
		throw new FormatError('E_SHAPE', `Scheduler ${kind}: ${what} has ${array.length} elements; expected ${length}, as the sample says.`);
	};
	const checkOutput = (output: Float32Array, sample: Float32Array) => {
		checkLength("the model's output", output, sample.length * (rule.outputs ?? 1));
		if (sample.length % batch === 0) return;
		throw new FormatError(
			'E_SHAPE',
			`Scheduler ${kind}: the sample has ${sample.length} elements, which is no batch of ${batch} pictures.`,
		);
	};
	return {
		kind,
		timesteps,
		sigmas: rule.sigmas,
		initNoiseSigma: rule.initNoiseSigma ?? 1,
		scaleInput(sample, call) {
			checkCall(call);
			return rule.scaleInput?.(sample, call) ?? sample.slice();
		},
		step(output, call, sample, noise) {
			if (call !== next || call >= calls) {
				const expected = next < calls ? `call ${next} is next` : 'the run is over; make another scheduler';
				throw new FormatError('E_USAGE', `Scheduler ${kind}: step got call ${call}; ${expected}.`);
			}
			checkOutput(output, sample);
			const result = rule.step(output, call, sample, () => {
				if (noise === undefined) throw new FormatError('E_USAGE', `Scheduler ${kind}: call ${call} draws noise, and none is given.`);
				const drawn = noise();
				checkLength('the noise', drawn, sample.length);
				return drawn;
			});
			next = call + 1;
			return result;
		},
		predictOriginal(output, call, sample) {
			checkCall(call);
			checkOutput(output, sample);
			return rule.predictOriginal(output, call, sample);
		},
		addNoise(original, noise, call) {
			checkCall(call);
			checkLength('the noise', noise, original.length);
			return rule.addNoise(original, noise, call);
		},
	};
}
