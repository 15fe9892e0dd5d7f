import { describe, expect, it } from 'vitest';
import { type CheckTarget, checkTarget } from '../src/check.js';
import { acceptedNames } from '../src/check-names.js';
import { decodeAdapter } from '../src/detect.js';
import { nearestName } from '../src/nearest-name.js';
import { DIFFUSERS, DIFFUSERS_METADATA, type Entries, KOHYA, memoryInput } from './support/memory-file.js';

function check(target: CheckTarget, entries: Entries, metadata: Readonly<Record<string, string>> = {}) {
	const input = memoryInput(entries, metadata);
	return checkTarget(input, decodeAdapter(input).adapter, target);
}

const Q = 'lora_unet_down_blocks_0_attentions_0_transformer_blocks_0_attn1_to_q';

describe('names that readers look for', () => {
	it.each<[CheckTarget, string, string, string, string]>([
		['comfyui', 'unet', 'up_blocks.0.upsamplers.0.conv', 'sd1', 'lora_unet_up_blocks_0_upsamplers_0_conv'],
		['comfyui', 'unet', 'up_blocks.0.upsamplers.0.conv', 'sd1', 'lora_unet_output_blocks_2_1_conv'],
		['comfyui', 'unet', 'up_blocks.0.upsamplers.0.conv', 'sdxl', 'lora_unet_output_blocks_2_2_conv'],
		[
			'comfyui',
			'unet',
			'mid_block.attentions.0.transformer_blocks.0.attn1.to_out.0',
			'sd1',
			'unet.mid_block.attentions.0.transformer_blocks.0.attn1.processor.to_out',
		],
		['comfyui', 'text_encoder_2', 'text_projection', 'sdxl', 'lora_te2_text_projection'],
		['comfyui', 'transformer', 'double_blocks.0.img_attn.qkv', 'flux', 'diffusion_model.double_blocks.0.img_attn.qkv'],
		['kohya', 'text_encoder', 'text_model.encoder.layers.0.mlp.fc1', 'sd1', 'lora_te_text_model_encoder_layers_0_mlp_fc1'],
		['kohya', 'text_encoder', 'text_model.encoder.layers.0.mlp.fc1', 'sdxl', 'lora_te1_text_model_encoder_layers_0_mlp_fc1'],
		[
			'diffusers',
			'text_encoder',
			'text_model.encoder.layers.0.self_attn.q_proj',
			'sd1',
			'text_encoder.text_model.encoder.layers.0.self_attn.to_q',
		],
		['peft', 'unet', 'conv_in', 'sd1', 'base_model.model.conv_in'],
	])('%s: %s %s of %s as %s', (target, component, path, base, name) => {
		const naming = component === 'transformer' ? 'bfl' : 'diffusers';
		expect(acceptedNames(target, { component, path, naming, base, layout: 'kohya' })).toContain(name);
	});

	it('sd-scripts has no lora_te1 for SD1, and ComfyUI no plain to_q', () => {
		const text = {
			component: 'text_encoder',
			path: 'text_model.encoder.layers.0.mlp.fc1',
			naming: 'diffusers',
			base: 'sd1',
			layout: 'kohya',
		} as const;
		expect(acceptedNames('kohya', text)).not.toContain('lora_te1_text_model_encoder_layers_0_mlp_fc1');
		expect(acceptedNames('comfyui', { ...text, component: 'unet', path: 'a.attn1.to_q' })).not.toContain('unet.a.attn1.to_q');
	});
});

describe('checkTarget', () => {
	it.each<[CheckTarget, string, number]>([
		['comfyui', 'all', 2],
		['a1111', 'all', 2],
		['diffusers', 'all', 2],
		['kohya', 'all', 2],
		['peft', 'none', 0],
	])('a kohya file in %s: %s', (target, verdict, loaded) => {
		const report = check(target, KOHYA);
		expect([report.verdict, report.modules.loaded]).toEqual([verdict, loaded]);
		expect(report.modules.total).toBe(
			report.modules.loaded + report.modules.partial + report.modules.unverified + report.modules.notLoaded,
		);
	});

	it('a diffusers file in ComfyUI: the .to_ module is not found, the other has half its strength', () => {
		const report = check('comfyui', DIFFUSERS, DIFFUSERS_METADATA);
		expect(report.verdict).toBe('some');
		expect(report.modules).toMatchObject({ total: 2, loaded: 1, notLoaded: 1 });
		expect(report.problems).toMatchObject([{ reason: 'name', modules: 1, examples: [{ nearest: [`${Q}.lora_down.weight`] }] }]);
		expect(report.strength).toMatchObject({ same: 0, differs: 1, examples: [{ own: 2, applied: 1 }] });
		expect(report.unmatched).toEqual(Object.keys(DIFFUSERS).filter((key) => key.includes('to_q')));
		expect(report.advice).toContain('lora convert IN OUT --to kohya');
	});

	it('diffusers refuses a kohya file for one stray leaf', () => {
		const report = check('diffusers', { ...KOHYA, [`${Q}.scale`]: 1 });
		expect(report.refused).toContain('left over');
		expect(report.modules).toMatchObject({ loaded: 0, notLoaded: 2 });
	});

	it('diffusers drops the DoRA magnitude of a kohya file', () => {
		const report = check('diffusers', { ...KOHYA, [`${Q}.dora_scale`]: { shape: [320, 1] } });
		expect(report.modules).toMatchObject({ loaded: 1, partial: 1 });
		expect(report.problems).toMatchObject([{ reason: 'beside', fate: 'partial' }]);
	});

	it('names a family that the reader does not compute', () => {
		const loha = {
			[`${Q}.hada_w1_a`]: { shape: [320, 4] },
			[`${Q}.hada_w1_b`]: { shape: [4, 320] },
			[`${Q}.hada_w2_a`]: { shape: [320, 4] },
			[`${Q}.hada_w2_b`]: { shape: [4, 320] },
		};
		const report = check('kohya', loha);
		expect(report).toMatchObject({ verdict: 'none', missingFamilies: ['LoHa'] });
		expect(report.advice.some((line) => line.includes('--to'))).toBe(false);
		expect(check('comfyui', loha).verdict).toBe('all');
	});

	it('asks PEFT for its configuration', () => {
		const peft = {
			'base_model.model.down_blocks.0.attentions.0.proj_in.lora_A.weight': { shape: [4, 320, 1, 1] },
			'base_model.model.down_blocks.0.attentions.0.proj_in.lora_B.weight': { shape: [320, 4, 1, 1] },
		};
		const input = memoryInput(peft);
		const { adapter } = decodeAdapter(input);
		expect(checkTarget(input, adapter, 'peft').refused).toContain('adapter_config.json');
		expect(checkTarget({ ...input, config: '{}' }, adapter, 'peft').modules.loaded).toBe(1);
	});
});

describe('nearestName', () => {
	it('finds a typing mistake and nothing far away', () => {
		expect(nearestName('lora_unet_mid_blok', ['lora_unet_mid_block', 'lora_te_x'])).toBe('lora_unet_mid_block');
		expect(nearestName('extra.weight', ['lora_unet_mid_block'])).toBeUndefined();
		expect(nearestName('x'.repeat(1000), ['x'.repeat(1001)])).toBeUndefined();
	});
});
