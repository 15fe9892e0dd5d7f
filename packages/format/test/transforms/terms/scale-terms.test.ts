import { describe, expect, it } from 'vitest';
import type { Tensor } from '../../../src/tensor.js';
import { FULL_STRENGTH, type Strength } from '../../../src/transforms/strength/adapter-use.js';
import { planTerms } from '../../../src/transforms/terms/plan-terms.js';
import { scaleTerms } from '../../../src/transforms/terms/scale-terms.js';
import { floats, folder, useOf } from '../../bases/helpers.js';
import { moduleOf } from '../../families/helpers.js';
import { moduleFor } from './terms-helpers.js';

const PATH = 'down_blocks.0.resnets.0.conv1';
const at = (scale: number): Strength => ({ ...FULL_STRENGTH, scale });

/** A tensor that counts how often it is read. */
function counted(tensor: Tensor, count: { reads: number }): Tensor {
	return {
		...tensor,
		read() {
			count.reads++;
			return tensor.read();
		},
	};
}

function setUp(name: string) {
	const [ofBase, ofAdapter] = [{ reads: 0 }, { reads: 0 }];
	const plain = folder({ unet: { [`${PATH}.weight`]: { shape: [6, 4], values: [0.5, -0.25, 1, 2, -1] } } });
	const base = {
		...plain,
		files: plain.files.map((file) => ({
			...file,
			state: { ...file.state, tensors: new Map([...file.state.tensors].map(([n, t]) => [n, counted(t, ofBase)])) },
		})),
	};
	const module = moduleFor(name, 1, 2, 'F32', 5, { path: PATH });
	if (module === undefined) throw new Error('no such module');
	const factors = Object.fromEntries(
		Object.entries(module.factors).map(([role, t]) => [role, t === undefined ? t : counted(t, ofAdapter)]),
	);
	return { base, use: useOf([{ ...module, factors }]), ofBase, ofAdapter };
}

describe('scaleTerms', () => {
	it.each(['lora', 'loha', 'lokr of parts', 'dora by rows', 'dora by columns', 'ia3 of rows'])(
		'%s: nothing is read again',
		async (name) => {
			const { base, use, ofBase, ofAdapter } = setUp(name);
			const plan = await planTerms(base, [use]);
			const before = [ofBase.reads, ofAdapter.reads];
			const half = await scaleTerms(plan, [at(0.5)]);
			const off = await scaleTerms(half, [at(0)]);
			const on = await scaleTerms(off, [at(1)]);
			expect([ofBase.reads, ofAdapter.reads]).toEqual(before);
			expect(before[0]).toBe(name.startsWith('dora') ? 1 : 0);
			expect(off.modules).toEqual([]);
			expect(on.modules).toEqual(plan.modules);
			expect(half.modules).toEqual((await planTerms(base, [{ ...use, strength: at(0.5) }])).modules);
		},
	);

	it('leaves the plan that it was given alone, and shares what does not change', async () => {
		const { base, use } = setUp('lora');
		const plan = await planTerms(base, [use]);
		const up = plan.modules[0]?.lowRank?.up.slice();
		const twice = await scaleTerms(plan, [at(2)]);
		expect(plan.modules[0]?.lowRank?.up).toEqual(up);
		expect(twice.modules[0]?.lowRank?.up).toEqual(up?.map((x) => 2 * x));
		expect(twice.modules[0]?.lowRank?.down).toBe(plan.modules[0]?.lowRank?.down);
	});

	it("PEFT's DoRA has another norm at another strength: the base is read again", async () => {
		const { base, use, ofBase } = setUp('dora by rows');
		const plan = await planTerms(base, [use], { doraStrength: 'peft' });
		expect(ofBase.reads).toBe(1);
		const half = await scaleTerms(plan, [at(0.5)]);
		expect(ofBase.reads).toBe(2);
		expect(half.modules).toEqual((await planTerms(base, [{ ...use, strength: at(0.5) }], { doraStrength: 'peft' })).modules);
	});

	it('another adapter beside: those that were there are not read again; another base forgets', async () => {
		const { base, use, ofAdapter } = setUp('lora');
		const other = useOf([moduleOf('lora', { up: floats('F32', [6, 1], [1]), down: floats('F32', [1, 4], [1]) }, { path: PATH })]);
		const plan = await planTerms(base, [use]);
		const reads = ofAdapter.reads;
		const both = await planTerms(base, [other, use], { previous: plan });
		expect(ofAdapter.reads).toBe(reads);
		expect(both.modules).toEqual((await planTerms(base, [other, use])).modules);
		const before = ofAdapter.reads;
		await planTerms({ ...base }, [use], { previous: both });
		expect(ofAdapter.reads).toBeGreaterThan(before);
	});

	it('wants one strength for each adapter', async () => {
		const { base, use } = setUp('lora');
		await expect(scaleTerms(await planTerms(base, [use]), [])).rejects.toMatchObject({ code: 'E_USAGE' });
	});
});
