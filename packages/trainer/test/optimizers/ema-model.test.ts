import { describe, expect, it } from 'vitest';
import { EmaModel } from '../../src/optimizers/ema-model.js';
import { fixture, numbers, recorded } from './fixture.js';

const diffusers = await recorded();

describe("the moving average against diffusers' EMAModel", () => {
	it.each(fixture.ema)('$name, stopped and resumed half way', ({ name, options, decays, count, seed }) => {
		const tensor = { name: 'a', group: 'unet' as const, shape: [count], values: numbers(seed, count, 0.5, false) };
		let ema = new EmaModel(options, [tensor]);
		for (const [step, decay] of decays.entries()) {
			tensor.values.set(numbers(seed + 1 + step, count, 0.5, false));
			expect(ema.decayAt(step + 1)).toBeCloseTo(decay, 14);
			ema.step();
			if (step !== 9) continue;
			const resumed = new EmaModel(options, [tensor]);
			resumed.restore(ema.state());
			ema = resumed;
		}
		expect(ema.values.get('a')).toEqual(diffusers.get(`ema-${name}/shadow`));
	});
});

describe('withAverage', () => {
	const tensor = { name: 'a', group: 'unet' as const, shape: [2], values: Float32Array.of(1, 2) };

	it('lends the averages and puts the values back, also after a failure', async () => {
		const ema = new EmaModel({}, [tensor]);
		tensor.values.set([5, 6]);
		const seen = await ema.withAverage(async () => {
			expect(() => ema.step()).toThrow(/hold their average/);
			await expect(ema.withAverage(async () => {})).rejects.toThrow(/hold their average already/);
			return tensor.values.slice();
		});
		expect(seen).toEqual(Float32Array.of(1, 2));
		expect(tensor.values).toEqual(Float32Array.of(5, 6));
		await expect(ema.withAverage(() => Promise.reject(new Error('no disk')))).rejects.toThrow('no disk');
		expect(tensor.values).toEqual(Float32Array.of(5, 6));
		ema.step();
	});

	it('refuses options and states that cannot be', () => {
		for (const options of [{ decay: 2 }, { min_decay: -1 }, { update_after_step: 0.5 }, { inv_gamma: 0 }, { power: Number.NaN }])
			expect(() => new EmaModel(options, [tensor])).toThrow(/The moving average got/);
		const ema = new EmaModel({}, [tensor]);
		expect(() => ema.restore(new Map())).toThrow(/"optimization_step" has no such entry/);
	});
});
