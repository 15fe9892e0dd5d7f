import { describe, expect, test } from 'vitest';
import { parseUnetConfig, SD1_UNET, SD2_UNET, SDXL_UNET, unetModulesInOrder } from '../../src/modules/index.js';
import { field, type Lists, type NamedShape, type UnetRow } from './field-lists.js';

describe.each([
	['sd15', SD1_UNET],
	['sd21', SD2_UNET],
	['sdxl', SDXL_UNET],
] as const)('%s', (base, config) => {
	const rows = field<UnetRow[]>(`${base}-unet.json`);
	const lists = field<Lists>(`${base}-lists.json`);

	test('Linear and Conv2d modules: names, order and shapes of the real model', () => {
		const ours = unetModulesInOrder(config, 'new').filter((m) => m.kind !== 'norm');
		expect(ours.map((m) => [m.path, ...m.shape])).toEqual(rows);
	});

	test.each(Object.keys(lists))('%s', (name) => {
		const targets = [
			'CrossAttention',
			'Attention',
			...(name.includes('CrossAttention') ? [] : ['GEGLU']),
			...(name.includes('Resnet') ? ['ResnetBlock2D'] : []),
		];
		const ours = unetModulesInOrder(config, name.includes('le_0_14') ? 'old' : 'new');
		const hit = ours.filter((m) => m.kind !== 'norm' && m.classes.some((c) => targets.includes(c)));
		expect(hit.map((m) => m.path)).toEqual(lists[name]?.map((i) => rows[i]?.[0]));
	});
});

test('a tiny UNet: all weights with their shapes, and the order that the real injector gave', () => {
	const tiny = field<{ config: unknown; modules: NamedShape[]; lists: Lists }>('tiny-unet.json');
	const config = parseUnetConfig(tiny.config);
	const shapes = new Map(tiny.modules.map(([name, ...shape]) => [name, shape]));
	const ours = unetModulesInOrder(config, 'new');
	expect(new Map(ours.map((m) => [m.path, m.shape]))).toEqual(shapes);
	expect(Object.keys(tiny.lists)).toHaveLength(4);
	for (const [name, list] of Object.entries(tiny.lists)) {
		const targets = ['CrossAttention', 'Attention', 'GEGLU', ...(name.includes('extended') ? ['ResnetBlock2D'] : [])];
		const order = name.includes('le_0.14') ? 'old' : 'new';
		const hit = unetModulesInOrder(config, order).filter((m) => m.kind !== 'norm' && m.classes.some((c) => targets.includes(c)));
		expect(hit.map((m) => m.path)).toEqual(list.map((i) => tiny.modules[i]?.[0]));
	}
});

test.each([
	['not an object', 3],
	['lists that do not fit', { down_block_types: ['DownBlock2D'] }],
	['a negative width', { block_out_channels: -1 }],
	['names that are no names', { down_block_types: [1, 2] }],
])('a config with %s is refused', (_, config) => {
	expect(() => parseUnetConfig(config)).toThrow(expect.objectContaining({ code: 'E_CONFIG' }));
});
