import { describe, expect, it } from 'vitest';
import { BLOCK_SIZE, BlockQuantizer } from '../../src/optimizers/block-quantizer.js';
import { dynamicMap } from '../../src/optimizers/dynamic-map.js';
import { casesOf, largestDistance, numbers, recorded, runCase } from './fixture.js';

const reference = await recorded();

describe('the dynamic map', () => {
	it.each([true, false])('has the bits of bitsandbytes (signed: %s)', (signed) => {
		expect(dynamicMap(signed)).toEqual(reference.get(`dynamic-map/${signed ? 'signed' : 'unsigned'}`));
	});
});

describe('block quantisation', () => {
	const map = dynamicMap(true);
	const quantizer = new BlockQuantizer(map);

	it('takes the nearest value of the map, the lower of two', () => {
		// every value, every middle, and one float32 to both sides of each
		const middles = [...map.slice(1)].map((value, i) => Math.fround(Math.fround(value + (map[i] as number)) / 2));
		const probes = [...map, ...middles]
			.flatMap((value) => [value, nextAfter(value, -1), nextAfter(value, 1)])
			.filter((value) => Math.abs(value) <= 1);
		for (const probe of probes) {
			const codes = new Uint8Array(2);
			// 1 makes the scale 1
			quantizer.block.set([1, probe]);
			quantizer.quantize(2, codes, 0);
			const expected = middles.filter((middle) => probe > middle).length;
			expect(codes[1], `${probe}`).toBe(expected);
		}
	});

	it('keeps a block of zeros zero', () => {
		const codes = new Uint8Array(BLOCK_SIZE);
		quantizer.block.fill(0);
		expect(quantizer.quantize(BLOCK_SIZE, codes, 0)).toBe(0);
		expect(map[codes[7] as number]).toBe(0);
	});

	it('is off by half a step of the map at most', () => {
		const values = numbers(5, BLOCK_SIZE, 3, true);
		const codes = new Uint8Array(BLOCK_SIZE);
		quantizer.block.set(values);
		const absmax = quantizer.quantize(BLOCK_SIZE, codes, 0);
		expect(absmax).toBe(Math.max(...values.map(Math.abs)));
		for (const [i, value] of values.entries()) {
			const code = codes[i] as number;
			const step = Math.max((map[code + 1] ?? 1) - (map[code] as number), (map[code] as number) - (map[code - 1] ?? -1));
			expect(Math.abs(value / absmax - (map[code] as number))).toBeLessThanOrEqual(step / 2 + 1e-7);
		}
	});
});

describe('8-bit AdamW against bitsandbytes', () => {
	it.each(casesOf('adamw8bit'))('$name', (one) => {
		const { held, optimizer } = runCase(one, () => {});
		const state = optimizer.state();
		for (const [i, { name, values }] of held.entries()) {
			// given gradients: no square root reaches the state, so codes and scales are the same to the bit
			for (const key of ['state1', 'state2', 'absmax1', 'absmax2']) {
				const expected = reference.get(`${one.name}/${key}/${name}`);
				expect(state.get(`${key}/${name}`)?.data.constructor, `${key} of ${name}`).toBe(expected?.constructor);
				if (expected !== undefined) expect(largestDistance(state.get(`${key}/${name}`)?.data ?? [], expected), `${key} of ${name}`).toBe(0);
			}
			const bar = 1.5 * (one.f32_vs_f64[one.steps]?.[i] ?? Number.NaN);
			const expected = reference.get(`${one.name}/values@${one.steps}/${name}`) ?? [];
			expect(largestDistance(values, expected), name).toBeLessThanOrEqual(bar);
		}
		expect(state.get('state1/unet.small:down')?.dtype).toBe('f32');
	});
});

function nextAfter(value: number, direction: 1 | -1): number {
	if (value === 0) return direction * 2 ** -149;
	const bits = new Int32Array(Float32Array.of(value).buffer);
	bits[0] = (bits[0] as number) + (value > 0 ? direction : -direction);
	return new Float32Array(bits.buffer)[0] as number;
}
