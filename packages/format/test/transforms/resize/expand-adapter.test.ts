import { describe, expect, it } from 'vitest';
import type { Family, Role, TargetModule } from '../../../src/adapter.js';
import { deltaOf } from '../../../src/families/index.js';
import { encodeFloats } from '../../../src/half.js';
import { bytesTensor, type Tensor } from '../../../src/tensor.js';
import { expandAdapter } from '../../../src/transforms/resize/expand-adapter.js';
import { moduleOf } from '../../families/helpers.js';
import { adapterOf, numbers, relativeDistance } from '../../support/small-adapter.js';

function random(
	family: Family,
	dtype: 'F16' | 'BF16' | 'F32',
	shapes: Partial<Record<Role, readonly number[]>>,
	more: Partial<TargetModule> = {},
): TargetModule {
	const next = numbers(11);
	const factors: Partial<Record<Role, Tensor>> = {};
	for (const [role, shape] of Object.entries(shapes) as [Role, readonly number[]][]) {
		const size = shape.reduce((a, b) => a * b, 1);
		factors[role] = bytesTensor(dtype, shape, encodeFloats(dtype, Float64Array.from({ length: size }, next)), role);
	}
	return moduleOf(family, factors, { rank: 2, alpha: 1, rule: 'alpha/rank', scaling: 0.5, ...more });
}

const LOHA = { hada_w1_a: [8, 2], hada_w1_b: [2, 6], hada_w2_a: [8, 2], hada_w2_b: [2, 6] } as const;

describe('expandAdapter', () => {
	it.each<readonly [string, TargetModule, 'F32' | 'F64', boolean, number, number]>([
		['LoHa of F16 in F32', random('loha', 'F16', LOHA), 'F32', true, 4, 0],
		['LoHa of BF16 in F32', random('loha', 'BF16', LOHA), 'F32', true, 4, 0],
		['LoHa of F32 in F32', random('loha', 'F32', LOHA), 'F32', false, 4, 1e-7],
		['LoHa of F32 in F64', random('loha', 'F32', LOHA), 'F64', true, 4, 0],
		['LoKr of F16', random('lokr', 'F16', { lokr_w1: [3, 2], lokr_w2_a: [4, 2], lokr_w2_b: [2, 5] }), 'F32', true, 4, 0],
		[
			'LoKr, both whole: alpha means nothing',
			random('lokr', 'F16', { lokr_w1: [2, 2], lokr_w2: [3, 3] }, { rank: undefined, rule: 'none', scaling: 1 }),
			'F32',
			true,
			6,
			0,
		],
		['LoCon with its core', random('locon', 'F16', { up: [8, 2, 1, 1], mid: [2, 2, 3, 3], down: [2, 4, 1, 1] }), 'F32', false, 2, 1e-7],
	])('%s', async (_, before, dtype, exact, rank, bound) => {
		const { adapter, modules, warnings } = expandAdapter(adapterOf([before]), { dtype });
		const [after] = adapter.modules;
		if (after === undefined) throw new Error('no module');
		expect(warnings).toEqual([]);
		expect(modules).toMatchObject([{ exact, rank }]);
		expect(after).toMatchObject({ family: 'lora', rank, scaling: before.scaling });
		const [old, fresh] = [(await deltaOf(before)).weight, (await deltaOf(after)).weight];
		if (old === undefined || fresh === undefined) throw new Error('no delta');
		expect(fresh.shape).toEqual(old.shape);
		// Sums are in another order, so doubles may differ in their last bits.
		expect(relativeDistance(fresh.data, old.data)).toBeLessThan(Math.max(bound, 1e-15));
	});

	it('gives a flattened 3 x 3 convolution of a UNet its kernel', () => {
		const path = 'down_blocks.0.resnets.0.conv1';
		const flat = random('loha', 'F16', { hada_w1_a: [8, 2], hada_w1_b: [2, 36], hada_w2_a: [8, 2], hada_w2_b: [2, 36] }, { path });
		const [after] = expandAdapter(adapterOf([flat])).adapter.modules;
		expect([after?.factors.up?.shape, after?.factors.down?.shape]).toEqual([
			[8, 4, 1, 1],
			[4, 4, 3, 3],
		]);
	});

	it('takes the kernel from the base where there is one', () => {
		const flat = random('loha', 'F16', { hada_w1_a: [8, 2], hada_w1_b: [2, 20], hada_w2_a: [8, 2], hada_w2_b: [2, 20] }, { path: 'odd' });
		const base = {
			name: 'b',
			family: 'sd1',
			unetConfig: undefined,
			components: new Map([['unet', [{ path: 'odd', kind: 'conv2d' as const, shape: [8, 5, 2, 2] }]]]),
		};
		expect(expandAdapter(adapterOf([flat]), { base }).adapter.modules[0]?.factors.down?.shape).toEqual([4, 5, 2, 2]);
	});

	it('leaves LoRA alone and says what it cannot expand', () => {
		const lora = random('lora', 'F16', { up: [4, 2], down: [2, 4] });
		const dora = random('loha', 'F16', { ...LOHA, magnitude: [8] }, { path: 'dora' });
		const { adapter, modules, warnings } = expandAdapter(adapterOf([lora, dora]));
		expect(adapter.modules).toEqual([lora, dora]);
		expect(modules).toEqual([]);
		expect(warnings).toMatchObject([{ code: 'W_NEEDS_BASE', at: 'dora' }]);
	});
});
