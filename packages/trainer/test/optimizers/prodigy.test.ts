import { describe, expect, it } from 'vitest';
import { createOptimizer } from '../../src/optimizers/create-optimizer.js';
import { Prodigy } from '../../src/optimizers/prodigy.js';
import { casesOf, gradientsAt, largestDistance, ratesAt, recorded, runCase, tensorsOf } from './fixture.js';

const torch = await recorded();
/**
 * torch sums a tensor in float32, in an order of its own, so our distance to it is its own to float64, ours, and what the
 * first steps' rounding grows to while d does: the record says how far that takes torch itself.
 */
const FACTOR = 3;

describe('Prodigy against prodigyopt', () => {
	it.each(casesOf('prodigy'))('$name', (one) => {
		const ds: number[] = [one.options.kind === 'prodigy' ? one.options.d0 : Number.NaN];
		const { optimizer } = runCase(one, (done, held, running) => {
			ds.push(running instanceof Prodigy ? running.d : Number.NaN);
			if (!one.record.includes(done)) return;
			for (const [i, { name, values }] of held.entries()) {
				const expected = torch.get(`${one.name}/values@${done}/${name}`) ?? [];
				const bar = FACTOR * (one.f32_vs_f64[done]?.[i] ?? Number.NaN) + 2 ** -24 * Math.max(...values.map(Math.abs));
				expect(largestDistance(values, expected), `${name} after ${done} steps`).toBeLessThanOrEqual(bar);
			}
		});
		for (const [i, d] of ds.entries()) {
			const [theirs, exact] = [one.d?.[i] ?? Number.NaN, one.d_f64?.[i] ?? Number.NaN];
			expect(Math.abs(d - theirs), `d after ${i} steps`).toBeLessThanOrEqual(FACTOR * Math.abs(theirs - exact) + 1e-5 * theirs);
		}
		expect(optimizer.state().get('k')?.data[0]).toBe(one.k);
	});

	it('takes one rate for all groups, or 0', () => {
		const [one] = casesOf('prodigy');
		if (one === undefined) throw new Error('no case');
		const held = tensorsOf(one);
		const before = held.map(({ values }) => values.slice());
		const optimizer = createOptimizer(one.options, held);
		const rates = { ...ratesAt(one, 0), text_encoder: 0.5 };
		expect(() => optimizer.step(gradientsAt(one, held, 1), rates)).toThrow(/Prodigy got the learning rates 1 and, for text_encoder, 0.5/);
		expect(held.map(({ values }) => values)).toEqual(before);
	});
});
