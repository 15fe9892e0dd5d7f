import { describe, expect, test } from 'vitest';
import { baseInventoryFromTensors, parseUnetConfig, unetModulesInOrder } from '../../src/modules/index.js';
import { field, type NamedShape } from './field-lists.js';

const entries = (list: readonly NamedShape[]): [string, number[]][] => list.map(([name, ...shape]) => [name, shape]);

describe.each(['tiny-sd', 'tiny-sd2', 'tiny-sdxl'])('%s folder', (name) => {
	const made = field<{ config: unknown; unet: NamedShape[]; text_encoder: NamedShape[]; text_encoder_2?: NamedShape[] }>(
		`${name}-base.json`,
	);
	const files = [
		{ component: 'unet', names: entries(made.unet), config: made.config },
		{ component: 'text_encoder', names: entries(made.text_encoder) },
		...(made.text_encoder_2 === undefined ? [] : [{ component: 'text_encoder_2', names: entries(made.text_encoder_2) }]),
	];
	const base = baseInventoryFromTensors(files, name);

	test('UNet in named_modules() order, every weight once', () => {
		const modules = base.components.get('unet') ?? [];
		expect(modules.map((m) => m.path)).toEqual(unetModulesInOrder(parseUnetConfig(made.config), 'new').map((m) => m.path));
		expect(modules).toHaveLength(made.unet.length);
	});
	test('text encoders with their text_model level, k, v, q, out', () => {
		for (const part of ['text_encoder', 'text_encoder_2']) {
			const modules = base.components.get(part);
			if (modules === undefined) continue;
			expect(modules.every((m) => m.path.startsWith('text_model.') || m.path === 'text_projection')).toBe(true);
			const attention = modules
				.filter((m) => m.path.startsWith('text_model.encoder.layers.0.self_attn'))
				.map((m) => m.path.split('.').at(-1));
			expect(attention).toEqual(['k_proj', 'v_proj', 'q_proj', 'out_proj']);
		}
	});
	test('its family and its configuration without config.json', () => {
		expect(base.family).toBe(name === 'tiny-sdxl' ? 'sdxl' : 'sd1or2');
		const bare = baseInventoryFromTensors([{ component: 'unet', names: entries(made.unet) }], name);
		const depths = (c: typeof base.unetConfig): unknown => ({ ...c, transformerLayersPerBlock: c?.transformerLayersPerBlock.at(-1) });
		expect(depths(bare.unetConfig)).toEqual(depths(base.unetConfig));
	});
});

test('a single-file checkpoint gives the same modules as the folder it was made from', () => {
	const ldm = baseInventoryFromTensors(
		[{ component: undefined, names: entries(field<NamedShape[]>('tiny-ldm.json')) }],
		'tiny.safetensors',
	);
	const made = field<{ config: unknown; unet: NamedShape[]; text_encoder: NamedShape[] }>('tiny-sd-base.json');
	const folder = baseInventoryFromTensors(
		[
			{ component: 'unet', names: entries(made.unet), config: made.config },
			{ component: 'text_encoder', names: entries(made.text_encoder) },
		],
		'tiny-sd',
	);
	expect(ldm.components.get('unet')).toEqual(folder.components.get('unet'));
	expect(ldm.components.get('text_encoder')).toEqual(folder.components.get('text_encoder'));
	expect(ldm.family).toBe(folder.family);
});

test('OpenCLIP names become transformers names', () => {
	const at = 'conditioner.embedders.1.model.transformer.resblocks.3';
	const base = baseInventoryFromTensors(
		[
			{
				component: undefined,
				names: [
					[`${at}.attn.in_proj_weight`, [24, 8]],
					[`${at}.attn.in_proj_bias`, [24]],
					[`${at}.mlp.c_fc.weight`, [32, 8]],
					['conditioner.embedders.1.model.text_projection', [8, 5]],
				],
			},
		],
		'x',
	);
	expect(base.components.get('text_encoder_2')?.map((m) => [m.path, m.shape])).toEqual([
		['text_model.encoder.layers.3.self_attn.k_proj', [8, 8]],
		['text_model.encoder.layers.3.self_attn.v_proj', [8, 8]],
		['text_model.encoder.layers.3.self_attn.q_proj', [8, 8]],
		['text_model.encoder.layers.3.mlp.fc1', [32, 8]],
		['text_projection', [5, 8]],
	]);
});

test('a Flux checkpoint lists both namings', () => {
	const names: [string, number[]][] = [
		['model.diffusion_model.double_blocks.0.img_attn.qkv.weight', [24, 8]],
		['model.diffusion_model.single_blocks.0.linear1.weight', [56, 8]],
	];
	const shapes = new Map(
		baseInventoryFromTensors([{ component: undefined, names }], 'x')
			.components.get('transformer')
			?.map((m) => [m.path, m.shape]),
	);
	expect(shapes.get('double_blocks.0.img_attn.qkv')).toEqual([24, 8]);
	expect(shapes.get('transformer_blocks.0.attn.to_k')).toEqual([8, 8]);
	expect(shapes.get('single_transformer_blocks.0.proj_mlp')).toEqual([32, 8]);
});

test('files of no known model are refused', () => {
	expect(() => baseInventoryFromTensors([{ component: undefined, names: [['foo', [1]]] }], 'x')).toThrow(
		expect.objectContaining({ code: 'E_FORMAT' }),
	);
});
