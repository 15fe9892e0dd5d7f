import { describe, expect, test } from 'vitest';
import { diffusersToSgm, flattenPath, isUnetPath, sgmToDiffusers, unflattenUnet } from '../../src/modules/index.js';
import { field, type UnetRow } from './field-lists.js';

const ATTENTION_IN_UP: Readonly<Record<string, readonly number[]>> = { sd15: [1, 2, 3], sd21: [1, 2, 3], sdxl: [0, 1] };

describe.each(['sd15', 'sd21', 'sdxl'])('%s', (base) => {
	const names = field<UnetRow[]>(`${base}-unet.json`).map(([name]) => name);
	const ldm = field<string[]>(`${base}-ldm.json`);
	const hasAttentionInUpBlock = (i: number): boolean => ATTENTION_IN_UP[base]?.includes(i) === true;

	test('every module flattens and comes back, in both block names', () => {
		for (const [n, name] of names.entries()) {
			expect(unflattenUnet(flattenPath(name))).toEqual({ path: name, style: 'diffusers' });
			expect(unflattenUnet(flattenPath(ldm[n] ?? ''))).toEqual({ path: name, style: 'sgm' });
			expect(isUnetPath(name)).toBe(true);
		}
	});

	test('sgm names are exact inverses', () => {
		expect(names.map((name) => diffusersToSgm(name, { hasAttentionInUpBlock }))).toEqual(ldm);
		expect(ldm.map((name) => sgmToDiffusers(name))).toEqual(names);
	});
});

test('2,400 names take a few milliseconds once the tables stand', () => {
	const flats = field<UnetRow[]>('sdxl-unet.json').map(([name]) => flattenPath(name));
	const all = [...flats, ...flats, ...flats].slice(0, 2382);
	for (let i = 0; i < 20; i += 1) unflattenUnet(flats[i] ?? '');
	let best = Number.POSITIVE_INFINITY;
	for (let round = 0; round < 5; round += 1) {
		const start = performance.now();
		for (const name of all) unflattenUnet(name);
		best = Math.min(best, performance.now() - start);
	}
	expect(best).toBeLessThan(25);
});

test.each([
	['input_blocks_4_1_transformer_blocks_11_attn2_to_out_0', 'down_blocks.1.attentions.0.transformer_blocks.11.attn2.to_out.0'],
	['output_blocks_2_1_conv', 'up_blocks.0.upsamplers.0.conv'],
	['output_blocks_2_2_conv', 'up_blocks.0.upsamplers.0.conv'],
	['output_blocks_2_1_proj_in', 'up_blocks.0.attentions.2.proj_in'],
	['input_blocks_3_0_op', 'down_blocks.0.downsamplers.0.conv'],
	['middle_block_2_emb_layers_1', 'mid_block.resnets.1.time_emb_proj'],
	['label_emb_0_2', 'add_embedding.linear_2'],
	['down_blocks_7_resnets_12_norm1', 'down_blocks.7.resnets.12.norm1'],
	['time_embedding_linear_1', 'time_embedding.linear_1'],
])('%s', (flat, path) => {
	expect(unflattenUnet(flat)?.path).toBe(path);
});

test.each([
	'time_embedding_linear_3',
	'down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_out_1',
	'down_blocks_00_resnets_0_conv1',
	'down_blocks_x_resnets_0_conv1',
	'input_blocks_0_0_op',
	'input_blocks_3_0_in_layers_2',
	'down_blocks_#_resnets_#_conv1',
	'__proto__',
	'constructor',
	'',
	'_',
	'down_blocks_99999999999999999999_resnets_0_conv1',
])('%j is no UNet name', (flat) => {
	expect(unflattenUnet(flat)).toBeUndefined();
});
