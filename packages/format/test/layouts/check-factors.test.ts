import { describe, expect, it } from 'vitest';
import type { Family, Role } from '../../src/adapter.js';
import { FormatError } from '../../src/errors.js';
import { checkFactors, moduleName } from '../../src/layouts/check-factors.js';
import { bytesTensor } from '../../src/tensor.js';

/** The code that factors of these shapes are refused with; undefined when they are sound. */
function check(family: Family, shapes: Partial<Record<Role, readonly number[]>>): string | undefined {
	const factors = new Map(
		Object.entries(shapes).map(([role, shape]) => [
			role as Role,
			{ key: `m.${role}`, tensor: bytesTensor('F32', shape, new Uint8Array(4 * shape.reduce((n, d) => n * d, 1)), `m.${role}`) },
		]),
	);
	try {
		checkFactors('unet', 'm', family, factors, () => {});
		return undefined;
	} catch (error) {
		if (!(error instanceof FormatError)) throw error;
		return error.code;
	}
}

const LOHA = { hada_w1_a: [8, 2], hada_w1_b: [2, 6], hada_w2_a: [8, 2], hada_w2_b: [2, 6] };
const TUCKER = {
	hada_t1: [2, 2, 3, 3],
	hada_w1_a: [2, 8],
	hada_w1_b: [2, 6],
	hada_t2: [2, 2, 3, 3],
	hada_w2_a: [2, 8],
	hada_w2_b: [2, 6],
};

describe('checkFactors', () => {
	it.each<[string, Family, Partial<Record<Role, readonly number[]>>, string | undefined]>([
		['LoRA', 'lora', { down: [2, 6], up: [8, 2] }, undefined],
		['LoRA wider than its layer', 'lora', { down: [24, 6], up: [8, 24] }, undefined],
		['LoRA of rank 0', 'lora', { down: [0, 6], up: [8, 0] }, 'E_LORA_RANK'],
		['LoRA without inputs', 'lora', { down: [2, 0], up: [8, 2] }, 'E_LORA_SHAPE'],
		['LoRA without outputs', 'lora', { down: [2, 6], up: [0, 2] }, 'E_LORA_SHAPE'],
		['both transposed in a square layer', 'lora', { down: [320, 4], up: [4, 320] }, 'E_LORA_TRANSPOSED'],
		['LoHa', 'loha', LOHA, undefined],
		['LoHa with two ranks', 'loha', { ...LOHA, hada_w2_a: [8, 3], hada_w2_b: [3, 6] }, undefined],
		['LoHa, another rank inside', 'loha', { ...LOHA, hada_w1_b: [3, 6] }, 'E_LORA_RANK'],
		['LoHa, other outputs', 'loha', { ...LOHA, hada_w2_a: [4, 2] }, 'E_LORA_SHAPE'],
		['LoHa, other inputs', 'loha', { ...LOHA, hada_w2_b: [2, 5] }, 'E_LORA_SHAPE'],
		['LoHa of vectors', 'loha', { hada_w1_a: [2], hada_w1_b: [2], hada_w2_a: [2], hada_w2_b: [2] }, 'E_LORA_SHAPE'],
		['LoHa of rank 0', 'loha', { hada_w1_a: [8, 0], hada_w1_b: [0, 6], hada_w2_a: [8, 0], hada_w2_b: [0, 6] }, 'E_LORA_RANK'],
		['LoHa with cores', 'loha', TUCKER, undefined],
		['LoHa with cores, other outputs', 'loha', { ...TUCKER, hada_w2_a: [2, 7] }, 'E_LORA_SHAPE'],
		['LoHa with one core', 'loha', { ...LOHA, hada_t1: [2, 2, 3, 3] }, 'E_LORA_UNPAIRED'],
		['LoKr', 'lokr', { lokr_w1: [2, 2], lokr_w2: [4, 3] }, undefined],
		['LoKr of vectors', 'lokr', { lokr_w1: [4], lokr_w2: [8] }, 'E_LORA_SHAPE'],
		['LoKr without numbers', 'lokr', { lokr_w1: [0, 4], lokr_w2: [8, 8] }, 'E_LORA_SHAPE'],
		['GLoRA', 'glora', { glora_a1: [6, 2], glora_a2: [2, 6], glora_b1: [8, 2], glora_b2: [2, 6] }, undefined],
		['GLoRA, the old order', 'glora', { glora_a1: [2, 6], glora_a2: [6, 2], glora_b1: [2, 6], glora_b2: [8, 2] }, undefined],
		['GLoRA with different ranks', 'glora', { glora_a1: [6, 2], glora_a2: [3, 6], glora_b1: [8, 2], glora_b2: [2, 6] }, 'E_LORA_RANK'],
		['OFT', 'oft', { oft_blocks: [4, 2, 2] }, undefined],
		['OFT with blocks that are not square', 'oft', { oft_blocks: [4, 8, 7] }, 'E_LORA_SHAPE'],
		['OFT of a vector', 'oft', { oft_blocks: [8] }, 'E_LORA_SHAPE'],
		['BOFT', 'boft', { oft_blocks: [2, 4, 2, 2] }, undefined],
	])('%s', (_, family, shapes, code) => {
		expect(check(family, shapes)).toBe(code);
	});

	it('cuts a path of a hundred thousand characters in messages', () => {
		expect(moduleName('unet', 'a.'.repeat(50_000)).length).toBeLessThan(120);
	});
});
