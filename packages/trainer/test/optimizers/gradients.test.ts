import { countOf } from '@lorakit/runtime';
import { describe, expect, it } from 'vitest';
import { clipGradients } from '../../src/optimizers/clip-gradients.js';
import { GradientAccumulator } from '../../src/optimizers/gradient-accumulator.js';
import { LossScaler } from '../../src/optimizers/loss-scaler.js';
import { fixture, largestDistance, numbers, recorded } from './fixture.js';

const torch = await recorded();

describe('clipping against torch', () => {
	it.each(fixture.clipping)('$name', ({ name, shapes, scales, max_norm, norm, norm_f64 }) => {
		const gradients = new Map(shapes.map((shape, i) => [`${i}`, numbers(70 + i, countOf(shape), scales[i] as number, true)]));
		const got = clipGradients(gradients, max_norm);
		// torch adds squares in float32; ours is the float64 norm, rounded as often as there are tensors
		expect(Math.abs(got.norm / norm_f64 - 1)).toBeLessThanOrEqual(2 ** -23);
		expect(Math.abs(got.norm / norm - 1)).toBeLessThanOrEqual(1e-6);
		expect(got.nonFinite).toBeUndefined();
		expect(got.scale < 1).toBe(norm_f64 > max_norm || max_norm / (norm_f64 + 1e-6) < 1);
		for (const [i, gradient] of gradients) {
			const expected = torch.get(`clip-${name}/${i}`) ?? [];
			const largest = Math.max(...Array.from(expected, Math.abs));
			expect(largestDistance(gradient, expected)).toBeLessThanOrEqual(got.scale === 1 ? 0 : 1e-6 * largest);
		}
	});

	it('only measures without a limit', () => {
		const gradients = new Map([['a', Float32Array.of(3, 4)]]);
		expect(clipGradients(gradients, null)).toEqual({ norm: 5, scale: 1, nonFinite: undefined });
		expect(clipGradients(new Map(), 1)).toEqual({ norm: 0, scale: 1, nonFinite: undefined });
		expect(gradients.get('a')).toEqual(Float32Array.of(3, 4));
	});

	it.each([Number.NaN, Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY])('names the tensor that has %d and touches nothing', (bad) => {
		const gradients = new Map([
			['fine', Float32Array.of(3, 4)],
			['bad', Float32Array.of(1, bad)],
			['later', Float32Array.of(bad)],
		]);
		const got = clipGradients(gradients, 1);
		expect(got.nonFinite).toBe('bad');
		expect(Number.isFinite(got.norm)).toBe(false);
		expect(gradients.get('fine')).toEqual(Float32Array.of(3, 4));
	});

	it('says so when float32 cannot hold the norm', () => {
		const gradients = new Map([
			['a', Float32Array.of(3e38)],
			['b', Float32Array.of(3e38)],
		]);
		expect(clipGradients(gradients, 1)).toEqual({ norm: Number.POSITIVE_INFINITY, scale: 1, nonFinite: 'b' });
	});
});

describe('accumulation against torch', () => {
	const { seeds, count, losses, mean } = fixture.accumulation;
	const tensors = [
		{ name: 'a', group: 'unet' as const, shape: [count], values: new Float32Array(count) },
		{ name: 'b', group: 'unet' as const, shape: [2], values: new Float32Array(2) },
	];

	it('is the mean, also the second time', () => {
		const accumulator = new GradientAccumulator(tensors, seeds.length);
		for (let round = 0; round < 2; round++) {
			for (const [i, seed] of seeds.entries()) {
				expect(accumulator.full).toBe(false);
				accumulator.add(losses[i] as number, new Map([['a', numbers(seed, count, 1, true)]]));
			}
			expect(accumulator.full).toBe(true);
			expect(accumulator.count).toBe(seeds.length);
			const { loss, gradients } = accumulator.take();
			expect(loss).toBe(mean);
			expect([...gradients.keys()]).toEqual(['a']);
			expect(gradients.get('a')).toEqual(torch.get('accumulated'));
		}
	});

	it('refuses what fits no tensor', () => {
		const accumulator = new GradientAccumulator(tensors, 2);
		expect(() => accumulator.add(1, new Map([['c', new Float32Array(2)]]))).toThrow(/"c" \(2 values\) fits no trained tensor/);
		expect(() => accumulator.add(1, new Map([['b', new Float32Array(3)]]))).toThrow(/"b"/);
		expect(accumulator.count).toBe(0);
		expect(() => new GradientAccumulator(tensors, 0)).toThrow(/over 0 micro-batches/);
	});
});

describe('the loss scaler against torch.amp.GradScaler', () => {
	it('finds the same scales, stopped and resumed at every step', () => {
		let scaler = new LossScaler(fixture.scaler.options);
		for (const { scale, gradient, unscaled, stepped, next, growth_tracker } of fixture.scaler.steps) {
			expect(scaler.scale).toBe(scale);
			const values = Float32Array.from(gradient, pythonNumber);
			const finite = scaler.unscale(new Map([['a', values]]));
			expect(values).toEqual(Float32Array.from(unscaled, pythonNumber));
			expect(finite).toBe(stepped);
			scaler.update(finite);
			expect(scaler.state()).toEqual({ scale: next, growth_tracker });
			const resumed = new LossScaler(fixture.scaler.options);
			resumed.restore(JSON.parse(JSON.stringify(scaler.state())));
			scaler = resumed;
		}
	});

	it('begins at 65536 and does not grow out of float32', () => {
		expect(new LossScaler().scale).toBe(65536);
		const scaler = new LossScaler({ init_scale: 2 ** 127, growth_interval: 1 });
		scaler.update(true);
		expect(scaler.scale).toBe(2 ** 127);
	});

	it.each([{ init_scale: 0 }, { growth_factor: 1 }, { backoff_factor: 1 }, { growth_interval: 0 }, { init_scale: Number.NaN }])(
		'refuses %j',
		(options) => {
			expect(() => new LossScaler(options)).toThrow(/The loss scaler got/);
		},
	);

	it('refuses a state that cannot be', () => {
		const scaler = new LossScaler();
		for (const state of [
			{ scale: 0, growth_tracker: 0 },
			{ scale: 1, growth_tracker: 2000 },
			{ scale: 1, growth_tracker: -1 },
			{ scale: 0.1, growth_tracker: 0 },
		])
			expect(() => scaler.restore(state)).toThrow(/The loss scaler got/);
		expect(scaler.state()).toEqual({ scale: 65536, growth_tracker: 0 });
	});
});

function pythonNumber(text: string): number {
	const special = { inf: Number.POSITIVE_INFINITY, '-inf': Number.NEGATIVE_INFINITY, nan: Number.NaN }[text];
	return special ?? Number(text);
}
