import { FormatError } from '@lorakit/format';

/** diffusers' names of schedules (huggingface/diffusers src/diffusers/optimization.py). */
export const LEARNING_RATE_SCHEDULES = [
	'constant',
	'constant_with_warmup',
	'linear',
	'cosine',
	'cosine_with_restarts',
	'polynomial',
] as const;
export type LearningRateScheduleKind = (typeof LEARNING_RATE_SCHEDULES)[number];

export interface LearningRateScheduleOptions {
	readonly kind: LearningRateScheduleKind;
	/** Steps over which the rate rises from 0; `constant` has none. */
	readonly warmupSteps: number;
	/** Steps of the optimizer in the whole run, warm-up included. */
	readonly totalSteps: number;
	/** `cosine_with_restarts`: how often it falls; 1 when left out. */
	readonly cycles?: number | undefined;
	/** `polynomial`: the exponent; 1 when left out. */
	readonly power?: number | undefined;
	/** `polynomial`: the rate at the end; 1e-7 when left out. */
	readonly end?: number | undefined;
	/** `polynomial`: the rate that the factor will multiply: it must know it to end at `end`. */
	readonly rate?: number | undefined;
}

/**
 * The factor of the learning rate by step: what step `n` (from 0, steps of the optimizer) multiplies the base rate with. Any
 * step may be asked, also past the end; asking changes nothing, so whether the schedule moves before the optimizer
 * (cloneofsimo/lora asks for `n + 1`) or after it (diffusers) is the caller's.
 *
 * @throws {FormatError} `E_CONFIG`: numbers no schedule can have
 */
export function learningRateSchedule(options: LearningRateScheduleOptions): (step: number) => number {
	const { kind, warmupSteps: warmup, totalSteps: total, cycles = 1, power = 1, end = 1e-7, rate } = options;
	checkNumber('the steps of warm-up', warmup, Number.isSafeInteger(warmup) && warmup >= 0, 'a whole number of at least 0');
	checkNumber('the number of steps', total, Number.isSafeInteger(total) && total >= 0, 'a whole number of at least 0');
	const rising = (step: number): number => step / Math.max(1, warmup);
	const progress = (step: number): number => (step - warmup) / Math.max(1, total - warmup);
	switch (kind) {
		case 'constant':
			return () => 1;
		case 'constant_with_warmup':
			return (step) => (step < warmup ? rising(step) : 1);
		case 'linear':
			return (step) => (step < warmup ? rising(step) : Math.max(0, (total - step) / Math.max(1, total - warmup)));
		case 'cosine':
			// past the end it rises again, as diffusers' does: half a wave is the run
			return (step) => (step < warmup ? rising(step) : Math.max(0, 0.5 * (1 + Math.cos(Math.PI * progress(step)))));
		case 'cosine_with_restarts':
			checkNumber('the number of cycles', cycles, Number.isFinite(cycles) && cycles > 0, 'a number above 0');
			return (step) => {
				if (step < warmup) return rising(step);
				const at = progress(step);
				return at >= 1 ? 0 : Math.max(0, 0.5 * (1 + Math.cos(Math.PI * ((cycles * at) % 1))));
			};
		case 'polynomial': {
			checkNumber('the power', power, Number.isFinite(power) && power > 0, 'a number above 0');
			checkNumber('the learning rate at the end', end, Number.isFinite(end) && end >= 0, 'a number of at least 0');
			const start = rate ?? Number.NaN;
			checkNumber('the learning rate', start, Number.isFinite(start) && start > end, `a number above the ${end} it ends at`);
			return (step) => {
				if (step < warmup) return rising(step);
				if (step > total) return end / start;
				return ((start - end) * (1 - progress(step)) ** power + end) / start;
			};
		}
	}
}

function checkNumber(what: string, value: number, fits: boolean, expected: string): void {
	if (!fits) throw new FormatError('E_CONFIG', `A learning rate schedule got ${value} for ${what}; expected ${expected}.`);
}
