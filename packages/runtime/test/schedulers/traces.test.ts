import { afterAll, describe, expect, it } from 'vitest';
import { createScheduler, imageToImageStart, kindOfConfig, SCHEDULER_KINDS } from '../../src/schedulers/index.js';
import { loadFixture, relativeError } from './fixture.js';

/** diffusers computes in float32, each factor too; ours in float64. The bar of the project's reference set. */
const SAMPLES = 2e-5;
/** Sigmas are rounded to float32 once, from float64, on both sides; powers may differ in the last bit before. */
const SIGMAS = 1.2e-7;

const fixture = await loadFixture();
const outputs = fixture.tensor('outputs');
const wide = fixture.tensor('wide_outputs');
const noises = fixture.tensor('noise');
const init = fixture.tensor('init');
const size = init.length;
const row = (array: Float32Array, i: number, width: number = size) => array.slice(i * width, (i + 1) * width);

const seen = new Set<string>();
const worst = new Map<string, { error: number; name: string }>();

describe('diffusers run beside ours', () => {
	for (const [name, trace] of Object.entries(fixture.traces)) {
		it(name, () => {
			const kind = kindOfConfig({ ...trace.config, _class_name: trace.class_name });
			if (kind === undefined) throw new Error(trace.class_name);
			seen.add(kind);
			const begin = trace.begin ?? 0;
			if (trace.strength !== undefined) expect(imageToImageStart(kind, trace.steps, trace.strength).begin).toBe(begin);
			const scheduler = createScheduler(kind, trace.config, trace.steps, { eta: trace.eta ?? 0, begin, batch: 2 });
			expect([...scheduler.timesteps]).toEqual([...fixture.tensor(`${name}/timesteps`)]);
			const sigmas = fixture.find(`${name}/sigmas`);
			if (sigmas !== undefined && scheduler.sigmas !== undefined) {
				expect(scheduler.sigmas).toHaveLength(sigmas.length);
				sigmas.forEach((s, i) => {
					expect(Math.abs((scheduler.sigmas?.[i] ?? Number.NaN) - s)).toBeLessThanOrEqual(SIGMAS * s);
				});
			}
			expect(Math.abs(scheduler.initNoiseSigma / trace.init_noise_sigma - 1)).toBeLessThanOrEqual(SIGMAS);

			let sample: Float32Array = init.map((x) => x * scheduler.initNoiseSigma);
			if (trace.strength !== undefined) {
				sample = scheduler.addNoise(fixture.tensor('picture'), init, begin);
				expect(relativeError(fixture.tensor(`${name}/start`), sample)).toBeLessThanOrEqual(SAMPLES);
			}
			const samples = fixture.tensor(`${name}/samples`);
			const inputs = fixture.find(`${name}/inputs`);
			let draws = 0;
			const draw = () => row(noises, draws++);
			for (let call = begin; call < scheduler.timesteps.length; call++) {
				const i = call - begin;
				if (inputs !== undefined) expect(relativeError(row(inputs, i), scheduler.scaleInput(sample, call))).toBeLessThanOrEqual(SAMPLES);
				const output = trace.wide === true ? row(wide, i, 2 * size) : row(outputs, i);
				const before = [sample.slice(), output.slice()];
				const next = scheduler.step(output, call, sample, draw);
				expect([sample, output]).toEqual(before);
				sample = next;
				const error = relativeError(row(samples, i), sample);
				if (error > (worst.get(kind)?.error ?? -1)) worst.set(kind, { error, name });
				expect(error, `call ${call}`).toBeLessThanOrEqual(SAMPLES);
			}
			expect(samples.length / size).toBe(scheduler.timesteps.length - begin);
			expect(draws).toBe(trace.noise_draws ?? 0);
		});
	}

	it('every kind has traces', () => {
		expect([...seen].sort()).toEqual([...SCHEDULER_KINDS].sort());
	});
});

afterAll(() => {
	for (const [kind, { error, name }] of worst)
		console.log(`schedulers: ${kind}: worst sample ${error.toExponential(2)} (bar ${SAMPLES}) in ${name}`);
});
