import { FormatError } from '@lorakit/format';
import { describe, expect, it } from 'vitest';
import { symmetricBetaQuantile } from '../../src/schedulers/beta-quantile.js';
import { log32, roundHalfEven } from '../../src/schedulers/float32.js';
import { addNoise, createScheduler, noiseSchedule, SCHEDULER_KINDS, snr, velocity } from '../../src/schedulers/index.js';
import { loadFixture, relativeError } from './fixture.js';

const fixture = await loadFixture();

describe('noise schedules', () => {
	for (const [name, config] of Object.entries(fixture.schedules)) {
		// torch's sigmoid is its own vector code, not rounded correctly everywhere: one float32 step.
		const bar = name === 'sigmoid' ? 2 ** -23 : 0;
		it(bar === 0 ? `${name} is torch's to the bit` : `${name} is torch's to a float32 step`, () => {
			const schedule = noiseSchedule(config);
			expect(relativeError(fixture.tensor(`schedule/${name}/alphas_cumprod`), schedule.alphasCumprod)).toBeLessThanOrEqual(bar);
			const betas = fixture.find(`schedule/${name}/betas`);
			if (betas !== undefined) expect(relativeError(betas, schedule.betas)).toBeLessThanOrEqual(bar);
		});
	}

	it('trained betas need one value for each timestep', () => {
		expect(() => noiseSchedule({ trained_betas: [0.1, 0.2] })).toThrow(/trained_betas has 2 values; num_train_timesteps is 1000/);
		expect(noiseSchedule({ trained_betas: [0.5, 0.5], num_train_timesteps: 2 }).alphasCumprod).toEqual(Float32Array.of(0.5, 0.25));
	});

	it.each([
		[{ beta_schedule: 'cosine' }, /beta_schedule is "cosine"; supported is .*scaled_linear/],
		[{ num_train_timesteps: 1e9 }, /num_train_timesteps is 1000000000/],
		[{ beta_start: 'a' }, /beta_start is "a"/],
	])('refuses %j', (config, message) => {
		expect(() => noiseSchedule(config)).toThrow(FormatError);
		expect(() => noiseSchedule(config)).toThrow(message);
	});
});

describe('training targets', () => {
	const schedule = noiseSchedule({ trained_betas: [0.36, 0.75], num_train_timesteps: 2 });
	// a = 0.64 and 0.16: shares 0.8 and 0.6, 0.4 and sqrt(0.84).
	const [x0, noise] = [Float32Array.of(1, -2, 0.5), Float32Array.of(0.5, 1, -3)];

	it('add noise by shares', () => {
		expect(relativeError([0.8 + 0.3, -1.6 + 0.6, 0.4 - 1.8], addNoise(schedule, x0, noise, 0))).toBeLessThan(1e-6);
	});

	it('have the velocity', () => {
		expect(relativeError([0.4 - 0.6, 0.8 + 1.2, -2.4 - 0.3], velocity(schedule, x0, noise, 0))).toBeLessThan(1e-6);
	});

	it('have the signal-to-noise ratio', () => {
		expect(snr(schedule, 0)).toBeCloseTo(0.64 / 0.36, 5);
		expect(snr(schedule, 1)).toBeCloseTo(0.16 / 0.84, 5);
	});

	it('refuse what is not there', () => {
		expect(() => addNoise(schedule, x0, noise, 2)).toThrow(/no timestep 2; the noise schedule goes from 0 to 1/);
		expect(() => snr(schedule, 0.5)).toThrow(/no timestep 0.5/);
		expect(() => velocity(schedule, x0, noise.subarray(1), 0)).toThrow(/has 2 elements; expected 3/);
	});
});

describe.each(SCHEDULER_KINDS)('%s', (kind) => {
	it('finds the original again in what addNoise made of it', () => {
		const config = { beta_start: 0.00085, beta_end: 0.012, beta_schedule: 'scaled_linear' };
		const clip = kind === 'ddim' || kind === 'ddpm' ? { clip_sample: false } : {};
		const scheduler = createScheduler(kind, { ...config, ...clip }, 5);
		const [x0, noise] = [fixture.tensor('picture'), fixture.tensor('init')];
		scheduler.timesteps.forEach((_, call) => {
			const sample = scheduler.addNoise(x0, noise, call);
			// Divided by a share of signal down to 0.068, float32 leaves some 1e-6 of it.
			expect(relativeError(x0, scheduler.predictOriginal(noise, call, sample))).toBeLessThan(1e-5);
		});
	});
});

describe('arithmetic', () => {
	it("log32 is numpy's float32 logarithm to the bit", () => {
		expect([...fixture.tensor('log/x').map(log32)]).toEqual([...fixture.tensor('log/y')]);
		expect(log32(0)).toBe(Number.NEGATIVE_INFINITY);
	});

	it("the symmetric beta quantile is scipy's", () => {
		const { p = [], ...byParameter } = fixture.quantiles;
		for (const [a, expected] of Object.entries(byParameter)) {
			p.forEach((x, i) => {
				const quantile = expected[i] as number;
				expect(Math.abs(symmetricBetaQuantile(x, Number(a)) - quantile), `${a} at ${x}`).toBeLessThanOrEqual(1e-12 * quantile);
			});
		}
	});

	it('halves round to even', () => {
		expect([0.5, 1.5, 2.5, -0.5, -1.5, 2.4, 2.6].map((x) => roundHalfEven(x) + 0)).toEqual([0, 2, 2, 0, -2, 2, 3]);
	});
});
