import fc from 'fast-check';
import { expect, it } from 'vitest';
import { type AdapterUse, FULL_STRENGTH, type Strength } from '../../../src/transforms/strength/adapter-use.js';
import { planTerms } from '../../../src/transforms/terms/plan-terms.js';
import { scaleTerms } from '../../../src/transforms/terms/scale-terms.js';
import { folder, useOf } from '../../bases/helpers.js';
import { numbers } from '../../support/small-adapter.js';
import { distanceFromFuse, FORM, KINDS, moduleFor } from './terms-helpers.js';

const UNET = ['down_blocks.0.resnets.0.conv1', 'up_blocks.1.resnets.0.conv2'];
const TEXT = 'text_model.encoder.layers.0.mlp.fc1';

it('for any families, ranks, types, several adapters and strengths by component and block: base + terms is what fuse computes', async () => {
	const kind = fc.constantFrom(...KINDS.keys());
	const scale = fc.constantFrom(1, 0.7, -0.4, 2, 0);
	const adapter = fc.record({
		kinds: fc.tuple(kind, kind, kind),
		rank: fc.integer({ min: 1, max: 3 }),
		dtype: fc.constantFrom('F16', 'BF16', 'F32', 'F64'),
		seed: fc.nat(1_000_000),
		strengths: fc.tuple(scale, scale, scale, scale),
	});
	await fc.assert(
		fc.asyncProperty(
			fc.array(adapter, { minLength: 1, maxLength: 4 }),
			fc.constantFrom('F16', 'BF16', 'F32', 'F64'),
			fc.constantFrom(1, 3),
			fc.constantFrom('interpolate', 'lycoris', 'peft'),
			fc.nat(1_000_000),
			async (adapters, dtype, k, doraStrength, seed) => {
				const shape = k === 1 ? [6, 4] : [6, 4, k, k];
				const next = numbers(seed);
				const entries = (paths: readonly string[], dims: readonly number[]) =>
					Object.fromEntries(
						paths.flatMap((path) => [
							[`${path}.weight`, { shape: dims, values: Array.from({ length: 24 * k * k }, next) }],
							[`${path}.bias`, { shape: [6], values: Array.from({ length: 6 }, next) }],
						]),
					);
				const base = folder({ unet: entries(UNET, shape), text_encoder: entries([TEXT], [6, 4]) }, dtype);
				const strengthOf = ([all, unet, text, block]: readonly [number, number, number, number]): Strength => ({
					scale: all,
					components: new Map([
						['unet', unet],
						['text_encoder', text],
					]),
					blocks: { text: 'test', weightOf: (m) => (m.path.startsWith('up_blocks') ? block : 1) },
				});
				const uses = adapters.map(({ kinds, rank, dtype: stored, seed: own, strengths }): AdapterUse => {
					const modules = [
						moduleFor(kinds[0], k, rank, stored, own, { path: UNET[0] ?? '' }),
						moduleFor(kinds[1], k, rank, stored, own + 1, { path: UNET[1] ?? '' }),
						moduleFor(kinds[2], 1, rank, stored, own + 2, { component: 'text_encoder', path: TEXT }),
					].filter((m) => m !== undefined);
					return useOf(modules, strengthOf(strengths), { form: FORM });
				});
				const plan = await planTerms(base, uses, { doraStrength });
				expect(await distanceFromFuse(base, uses, plan, { doraStrength })).toBeLessThan(1e-12);
				// The same plan, come to from other strengths.
				const from = uses.map((use, n) => ({ ...use, strength: n % 2 === 0 ? FULL_STRENGTH : { ...FULL_STRENGTH, scale: 0 } }));
				const before = await planTerms(base, from, { doraStrength });
				const after = await scaleTerms(
					before,
					uses.map((u) => u.strength),
				);
				const plain = (p: typeof plan) => p.modules.map(({ dense, ...rest }) => ({ ...rest, dense: dense !== undefined }));
				expect(plain(after)).toEqual(plain(plan));
			},
		),
		{ numRuns: 150 },
	);
});
