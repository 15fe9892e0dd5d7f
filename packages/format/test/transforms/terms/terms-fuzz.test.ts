import fc from 'fast-check';
import { expect, it } from 'vitest';
import type { Family, Role } from '../../../src/adapter.js';
import { FormatError } from '../../../src/errors.js';
import type { Tensor } from '../../../src/tensor.js';
import { planTerms } from '../../../src/transforms/terms/plan-terms.js';
import { floats, folder, useOf } from '../../bases/helpers.js';
import { moduleOf } from '../../families/helpers.js';
import { distanceFromFuse } from './terms-helpers.js';

/** Roles that each family may be given, sensible or not. */
const ROLES: ReadonlyMap<Family, readonly Role[]> = new Map<Family, readonly Role[]>([
	['lora', ['up', 'down', 'magnitude', 'mid', 'up_bias', 'diff_b', 'bias_dense', 'bias_values']],
	['locon', ['up', 'down', 'mid', 'magnitude']],
	['loha', ['hada_w1_a', 'hada_w1_b', 'hada_w2_a', 'hada_w2_b', 'hada_t1', 'hada_t2', 'magnitude']],
	['lokr', ['lokr_w1', 'lokr_w2', 'lokr_w1_a', 'lokr_w1_b', 'lokr_w2_a', 'lokr_w2_b', 'lokr_t2', 'magnitude']],
	['full', ['diff', 'diff_b', 'diff_m']],
	['norm', ['w_norm', 'b_norm']],
	['ia3', ['ia3_weight', 'on_input']],
	['peft-ia3', ['ia3_l']],
	['oft', ['oft_blocks', 'rescale']],
	['boft', ['oft_blocks', 'rescale']],
	['peft-oft', ['oft_R']],
	['peft-boft', ['boft_R', 'boft_s']],
	['glora', ['glora_a1', 'glora_a2', 'glora_b1', 'glora_b2', 'glora_bm']],
	['embedding', ['embedding_down', 'embedding_up', 'magnitude']],
	['whole', ['weight', 'bias', 'set_weight', 'reshape_weight']],
]);

const shape = fc.array(fc.constantFrom(0, 1, 2, 2, 3, 4), { maxLength: 4 });

it('whatever the shapes, terms are those of fuse or refused by a FormatError', async () => {
	let done = 0;
	await fc.assert(
		fc.asyncProperty(
			fc.constantFrom(...ROLES.keys()),
			fc.array(fc.oneof(shape, fc.constantFrom([2, 2], [2, 1], [1, 2], [2])), { minLength: 8, maxLength: 8 }),
			fc.integer({ min: 0, max: 255 }),
			fc.oneof(shape, fc.constantFrom([2, 2], [2, 2, 1, 1])),
			fc.option(fc.constantFrom(0, 1, 2, 4), { nil: undefined }),
			fc.constantFrom('in' as const, 'out' as const, undefined),
			fc.constantFrom(1, 0.5, -2, Number.POSITIVE_INFINITY),
			async (family, shapes, mask, weight, bias, axis, scaling) => {
				const factors: Partial<Record<Role, Tensor>> = {};
				for (const [n, role] of (ROLES.get(family) ?? []).entries()) {
					if (n < 2 || ((mask >> n) & 1) === 1) factors[role] = floats('F32', shapes[n] ?? [], [0.5, -1, 2, 0.25]);
				}
				const base = folder({
					unet: { 'conv_in.weight': { shape: weight }, ...(bias === undefined ? {} : { 'conv_in.bias': { shape: [bias] } }) },
				});
				const form = new Map([['peft.config', '{"num_cayley_neumann_terms": 5}']]);
				const use = useOf([moduleOf(family, factors, { path: 'conv_in', scaling, magnitudeAxis: axis })], { scale: 0.75 }, { form });
				try {
					expect(await distanceFromFuse(base, [use], await planTerms(base, [use]))).toBeLessThan(1e-12);
					done++;
				} catch (error) {
					if (!(error instanceof FormatError)) throw error;
				}
			},
		),
		{ numRuns: 3000 },
	);
	// Some of it must go through, or nothing is tested.
	expect(done).toBeGreaterThan(40);
});
