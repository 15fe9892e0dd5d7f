import { describe, expect, it } from 'vitest';
import { casesOf, largestDistance, recorded, runCase } from './fixture.js';

const torch = await recorded();

describe('AdamW against torch', () => {
	it.each(casesOf('adamw'))('$name', (one) => {
		const { optimizer } = runCase(one, (done, held) => {
			if (!one.record.includes(done)) return;
			for (const [i, { name, values }] of held.entries()) {
				const expected = torch.get(`${one.name}/values@${done}/${name}`) ?? [];
				// torch's own loss in float32 (its square roots are not even the nearest float32); half as much again for ours
				const bar = 1.5 * (one.f32_vs_f64[done]?.[i] ?? Number.NaN);
				expect(largestDistance(values, expected), `${name} after ${done} steps`).toBeLessThanOrEqual(bar);
			}
		});
		const state = optimizer.state();
		for (const { name } of one.tensors) {
			// no square root in the moments: every bit
			for (const key of ['exp_avg', 'exp_avg_sq'])
				expect(
					largestDistance(state.get(`${key}/${name}`)?.data ?? [], torch.get(`${one.name}/${key}/${name}`) ?? [NaN]),
					`${key} of ${name}`,
				).toBe(0);
		}
	});

	it('counts the steps of each tensor by itself', () => {
		const [one] = casesOf('adamw');
		if (one === undefined) throw new Error('no case');
		const state = runCase(one, () => {}).optimizer.state();
		for (const { name, missing } of one.tensors) expect(state.get(`step/${name}`)?.data[0]).toBe(one.steps - (missing?.length ?? 0));
	});

	it('shrinks a tensor whose gradient is zero by the decay alone', () => {
		const [one] = casesOf('adamw');
		if (one === undefined) throw new Error('no case');
		const rate = one.rates.unet[0] as number;
		runCase({ ...one, steps: 1 }, (_, held) => {
			const start = torch.get(`${one.name}/values@1/unet.a:down`) ?? [];
			expect(largestDistance(held[0]?.values ?? [], start)).toBe(0);
			expect(rate).toBeGreaterThan(0);
		});
	});
});
