import { expect, test } from 'vitest';
import { hasOnlyFlatNames, keyTable } from '../../src/layouts/key-table.js';
import type { StateDict } from '../../src/state-dict.js';
import { bytesTensor } from '../../src/tensor.js';

function file(names: readonly string[]): StateDict {
	const tensors = new Map(names.map((name) => [name, bytesTensor('F32', [1], new Uint8Array(4), name)]));
	return {
		container: 'memory',
		name: 'x',
		tensors,
		metadata: new Map(),
		top: 'dict',
		wrapper: undefined,
		nonTensors: [],
		small: new Map(),
		smallComplete: true,
		warnings: [],
	};
}

test('a file is split once, in its order', () => {
	const given = file(['lora_unet_conv_in.alpha', 'lora_unet_conv_in.lora_down.weight', 'x.bias', 'a.to_q_lora.down.weight']);
	const table = keyTable(given);
	expect(table.map(({ key, split }) => [key, split?.module, split?.leaf.role])).toEqual([
		['lora_unet_conv_in.alpha', 'lora_unet_conv_in', 'alpha'],
		['lora_unet_conv_in.lora_down.weight', 'lora_unet_conv_in', 'down'],
		['x.bias', undefined, undefined],
		['a.to_q_lora.down.weight', 'a.to_q', 'down'],
	]);
	expect(keyTable(given)).toBe(table);
});

test.each([
	[['lora_unet_a.alpha', 'lora_te_b.lora_A.weight'], true],
	[[], false],
	[['lora_unet_a.alpha', 'lora_unet_a.b.alpha'], false],
	[['lora_unet_a.alpha', 'unet_a.alpha'], false],
	[['lora_unet_a.alpha', 'lora_unet_a.lora_E'], false],
	[['lora_unet_a.alpha', 'bundle_emb.x.clip_l'], false],
])('%j has only flat names: %s', (names, expected) => {
	expect(hasOnlyFlatNames(file(names))).toBe(expected);
});
