import { expect, test } from 'vitest';
import { deltaOf } from '../../src/families/index.js';
import { f32, moduleOf } from './helpers.js';

const up = f32([2, 1], [2, 4]);
const down = f32([1, 2], [1, 3]);

test('diff_b beside LoRA factors is a bias with the strength and without the scaling', async () => {
	const delta = await deltaOf(moduleOf('lora', { up, down, diff_b: f32([2], [8, -2]) }, { scaling: 0.5 }), { strength: 3 });
	expect(Array.from(delta.weight?.data ?? [])).toEqual([3, 9, 6, 18]);
	expect(Array.from(delta.bias?.data ?? [])).toEqual([24, -6]);
});

test('it adds to the bias of up', async () => {
	const delta = await deltaOf(moduleOf('lora', { up, down, up_bias: f32([2], [1, 1]), diff_b: f32([2], [8, -2]) }, { scaling: 0.5 }));
	expect(Array.from(delta.bias?.data ?? [])).toEqual([8.5, -1.5]);
});

test('of another length it is refused', async () => {
	const module = moduleOf('lora', { up, down, up_bias: f32([2], [1, 1]), diff_b: f32([3], [8, -2, 1]) });
	await expect(deltaOf(module)).rejects.toMatchObject({ code: 'E_LORA_SHAPE' });
});
