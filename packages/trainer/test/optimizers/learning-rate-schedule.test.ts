import { describe, expect, it } from 'vitest';
import {
	LEARNING_RATE_SCHEDULES,
	type LearningRateScheduleKind,
	learningRateSchedule,
} from '../../src/optimizers/learning-rate-schedule.js';
import { fixture } from './fixture.js';

describe("schedules against diffusers' get_scheduler", () => {
	it('has a table of each', () => {
		expect(new Set(fixture.schedules.map(({ kind }) => kind))).toEqual(new Set(LEARNING_RATE_SCHEDULES));
	});

	it.each(fixture.schedules)(
		'$kind, warm-up $warmup of $total, $cycles cycles, power $power',
		({ kind, warmup, total, cycles, power, rate, rates }) => {
			const factor = learningRateSchedule({
				kind: kind as LearningRateScheduleKind,
				warmupSteps: warmup,
				totalSteps: total,
				cycles,
				power,
				rate,
			});
			for (const [step, expected] of rates.entries())
				expect(Math.abs(factor(step) * rate - expected), `step ${step}`).toBeLessThanOrEqual(1e-12);
		},
	);

	it.each([
		{ kind: 'linear', warmupSteps: -1, totalSteps: 5 },
		{ kind: 'linear', warmupSteps: 1, totalSteps: 2.5 },
		{ kind: 'cosine_with_restarts', warmupSteps: 0, totalSteps: 5, cycles: 0 },
		{ kind: 'polynomial', warmupSteps: 0, totalSteps: 5 },
		{ kind: 'polynomial', warmupSteps: 0, totalSteps: 5, rate: 1e-8 },
		{ kind: 'polynomial', warmupSteps: 0, totalSteps: 5, rate: 1, power: 0 },
	] as const)('refuses %j', (options) => {
		expect(() => learningRateSchedule(options)).toThrow(/A learning rate schedule got/);
	});
});
