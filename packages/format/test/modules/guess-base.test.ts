import { describe, expect, test } from 'vitest';
import { type GuessModule, guessBase } from '../../src/modules/index.js';
import { field, type NamedShape, type UnetRow } from './field-lists.js';

const none = new Map<string, string>();
const mod = (component: string, path: string, inFeatures?: number, outFeatures?: number): GuessModule => ({
	component,
	path,
	naming: 'diffusers',
	inFeatures,
	outFeatures,
});

test.each([
	['sd15', 'sd1'],
	['sd21', 'sd2'],
	['sdxl', 'sdxl'],
])('%s attention modules', (base, family) => {
	const modules = field<UnetRow[]>(`${base}-unet.json`)
		.filter(([path]) => path.includes('attn'))
		.map(([path, out, inn]) => mod('unet', path, inn, out));
	expect(guessBase({ modules, metadata: none })).toMatchObject({ family, confidence: 1 });
});

test.each([
	['tiny-sd', 'sd1or2'],
	['tiny-sd2', 'sd1or2'],
	['tiny-sdxl', 'sdxl'],
])('%s: structure says the family, the width lowers the confidence', (base, family) => {
	const { unet } = field<{ unet: NamedShape[] }>(`${base}-base.json`);
	const guess = guessBase({
		modules: unet.map(([path, out, inn]) => mod('unet', path.replace(/\.weight$/, ''), inn, out)),
		metadata: none,
	});
	expect(guess.family).toBe(family);
	expect(guess.confidence).toBeLessThan(0.7);
	expect(guess.evidence.join(' ')).toContain('unusual width');
});

describe('transformers', () => {
	test.each([
		['flux', [mod('transformer', 'double_blocks.0.img_attn.qkv', 3072, 9216), mod('transformer', 'single_blocks.37.linear1', 3072, 21504)]],
		[
			'flux',
			[
				mod('transformer', 'transformer_blocks.0.attn.to_q', 3072, 3072),
				mod('transformer', 'single_transformer_blocks.0.proj_mlp', 3072, 12288),
			],
		],
		['sd3', [mod('transformer', 'transformer_blocks.0.attn.to_q', 1536, 1536)]],
		['sd3', [mod('transformer', 'joint_blocks.0.x_block.attn.qkv', 1536, 4608)]],
		['qwen-image', [mod('transformer', 'transformer_blocks.59.attn.to_q', 3072, 3072)]],
		['qwen-image', [mod('transformer', 'transformer_blocks.0.img_mlp.net.0.proj', 3072, 12288)]],
		['wan', [mod('transformer', 'blocks.0.self_attn.q', 5120, 5120), mod('transformer', 'blocks.0.cross_attn.k', 5120, 5120)]],
		['hunyuan-video', [mod('transformer', 'double_blocks.0.img_attn_qkv', 3072, 9216)]],
		['z-image', [mod('transformer', 'layers.0.attention.to_q', 3840, 3840)]],
		[
			'chroma',
			[mod('transformer', 'distilled_guidance_layer.in_proj', 64, 5120), mod('transformer', 'double_blocks.0.img_mlp.0', 3072, 12288)],
		],
		['llm', [mod('model', 'model.layers.0.self_attn.q_proj', 4096, 4096)]],
	])('%s', (family, modules) => {
		expect(guessBase({ modules, metadata: none }).family).toBe(family);
	});
});

describe('metadata is a hint', () => {
	const sd1 = [mod('unet', 'down_blocks.0.attentions.0.transformer_blocks.0.attn2.to_k', 768, 320)];
	test('that agrees', () => {
		const guess = guessBase({ modules: sd1, metadata: new Map([['ss_base_model_version', 'sd_v1']]) });
		expect([guess.family, guess.evidence.at(-1)]).toEqual(['sd1', 'The header entry ss_base_model_version says "sd_v1", which agrees.']);
	});
	test('that contradicts', () => {
		const guess = guessBase({ modules: sd1, metadata: new Map([['ss_base_model_version', 'sdxl_base_v1-0']]) });
		expect(guess.family).toBe('sd1');
		expect(guess.evidence.at(-1)).toContain('contradicts the shapes');
	});
	test('that is all there is', () => {
		const guess = guessBase({ modules: [mod('x', 'y')], metadata: new Map([['modelspec.architecture', 'flux-1-dev/lora']]) });
		expect(guess).toMatchObject({ family: 'flux', confidence: 0.3 });
		expect(guessBase({ modules: [], metadata: none })).toMatchObject({ family: 'unknown', confidence: 0 });
	});
});
