import { describe, expect, test } from 'vitest';
import {
	FLUX_NAMES,
	flattenPath,
	partRows,
	SD3_NAMES,
	transformerDialect,
	unflattenTransformer,
	unflattenTransformers,
	WAN_NAMES,
} from '../../src/modules/index.js';
import { field } from './field-lists.js';

type FluxRow = readonly [bfl: string, out: number, inn: number, ...parts: [string, number, number][]];
type Sd3Row = readonly [diffusers: string, out: number, inn: number, sai: string | null, from?: number, to?: number];

describe('Flux', () => {
	const rows = field<FluxRow[]>('flux1.json');
	test('every BFL module has the diffusers parts and rows of the real model', () => {
		for (const [bfl, out, inn, ...parts] of rows) {
			const named = FLUX_NAMES.byNative(bfl);
			expect(named?.parts).toEqual(parts.map(([name]) => name));
			const heights = partRows(named?.rule ?? 'rename', parts.length, out, inn);
			expect(heights).toEqual(parts.map(([, from, to]) => to - from));
			for (const [n, [part]] of parts.entries()) expect(FLUX_NAMES.byDiffusers(part)).toEqual({ ...named, part: n });
		}
	});
	test('flattened names come back and agree on Flux', () => {
		const flats = rows.map(([bfl]) => flattenPath(bfl));
		const names = unflattenTransformers(flats);
		expect([names?.family, names?.naming, names?.paths.size]).toEqual(['flux', 'bfl', rows.length]);
		for (const [bfl] of rows) expect(names?.paths.get(flattenPath(bfl))).toBe(bfl);
		const diffusers = rows.flatMap(([, , , ...parts]) => parts.map(([name]) => name));
		expect(transformerDialect(diffusers)).toMatchObject({ family: 'flux', naming: 'diffusers', alternatives: ['flux2'] });
		for (const name of diffusers) expect(unflattenTransformer(flattenPath(name))?.path).toBe(name);
	});
});

test('SD3: every module of the real model has the SAI name the catalogue gives', () => {
	for (const [diffusers, , , sai, from, to] of field<Sd3Row[]>('sd3.json')) {
		const named = SD3_NAMES.byDiffusers(diffusers);
		expect(named).toBeDefined();
		if (sai !== null) expect(named?.native).toBe(sai);
		if (from !== undefined && to !== undefined) expect(from / (to - from)).toBe(named?.part);
		expect(unflattenTransformer(flattenPath(named?.native ?? ''))?.path).toBe(named?.native);
	}
});

test.each([
	['blocks.3.self_attn.q', 'blocks.3.attn1.to_q'],
	['blocks.3.cross_attn.o', 'blocks.3.attn2.to_out.0'],
	['blocks.3.cross_attn.k_img', 'blocks.3.attn2.add_k_proj'],
	['blocks.39.ffn.0', 'blocks.39.ffn.net.0.proj'],
	['time_projection.1', 'condition_embedder.time_proj'],
])('Wan %s', (native, diffusers) => {
	expect(WAN_NAMES.byNative(native)?.parts).toEqual([diffusers]);
	expect(WAN_NAMES.byDiffusers(diffusers)?.native).toBe(native);
});

test.each([
	[['blocks_0_self_attn_q', 'blocks_0_cross_attn_k_img', 'blocks_0_ffn_2'], 'wan', 'native', 'blocks.0.cross_attn.k_img'],
	[['_blocks_0_self_attn_q'], 'wan', 'native', 'blocks.0.self_attn.q'],
	[
		['double_blocks_0_img_attn_qkv', 'double_blocks_0_img_mlp_fc1', 'single_blocks_4_modulation_linear'],
		'hunyuan-video',
		'native',
		'double_blocks.0.img_attn_qkv',
	],
	[['double_blocks_0_img_attn_qkv', 'double_blocks_0_img_mlp_0'], 'flux', 'bfl', 'double_blocks.0.img_attn.qkv'],
	[
		['transformer_blocks_59_attn_to_out_0', 'transformer_blocks_0_img_mlp_net_0_proj', 'transformer_blocks_0_txt_mod_1'],
		'qwen-image',
		'native',
		'transformer_blocks.59.attn.to_out.0',
	],
	[
		['layers_0_attention_to_q', 'layers_0_feed_forward_w1', 'noise_refiner_1_attention_to_out_0'],
		'z-image',
		'native',
		'noise_refiner.1.attention.to_out.0',
	],
	[
		['joint_blocks_0_x_block_attn_qkv', 'joint_blocks_0_context_block_adaLN_modulation_1'],
		'sd3',
		'sai',
		'joint_blocks.0.context_block.adaLN_modulation.1',
	],
	[
		['double_blocks_0_img_mlp_0', 'distilled_guidance_layer_layers_3_in_layer'],
		'chroma',
		'bfl',
		'distilled_guidance_layer.layers.3.in_layer',
	],
])('%j is %s', (flats, family, naming, path) => {
	const names = unflattenTransformers(flats);
	expect(names).toMatchObject({ family, naming });
	expect([...(names?.paths.values() ?? [])]).toContain(path);
	expect(names?.paths.size).toBe(flats.length);
});

test('one set of attention names alone leaves several models possible', () => {
	const names = transformerDialect(['transformer_blocks.0.attn.to_q', 'transformer_blocks.0.attn.add_k_proj']);
	expect(names?.alternatives).toEqual(expect.arrayContaining(['sd3', 'qwen-image']));
	expect(unflattenTransformers(['nothing_known'])).toBeUndefined();
});
