import { describe, expect, it } from 'vitest';
import type { TargetModule } from '../../../src/adapter.js';
import { BLOCK_NAMES, blockOf, parseBlockWeights } from '../../../src/transforms/strength/block-weights.js';
import { f32, moduleOf } from '../../families/helpers.js';
import { adapterOf } from '../merge/merge-helpers.js';

const factors = { up: f32([2, 1], [1, 1]), down: f32([1, 2], [1, 1]) };
const at = (path: string, component = 'unet'): TargetModule => moduleOf('lora', factors, { path, component });
const sd1 = { family: 'sd1', label: 'Stable Diffusion 1.x', confidence: 1, evidence: [] };
const sdxl = { family: 'sdxl', label: 'Stable Diffusion XL', confidence: 1, evidence: [] };

const ATTENTIONS: readonly (readonly [string, string])[] = [
	['IN01', 'down_blocks.0.attentions.0.proj_in'],
	['IN02', 'down_blocks.0.attentions.1.proj_in'],
	['IN04', 'down_blocks.1.attentions.0.proj_in'],
	['IN05', 'down_blocks.1.attentions.1.proj_in'],
	['IN07', 'down_blocks.2.attentions.0.proj_in'],
	['IN08', 'down_blocks.2.attentions.1.proj_in'],
	['MID', 'mid_block.attentions.0.proj_in'],
	['OUT03', 'up_blocks.1.attentions.0.proj_in'],
	['OUT04', 'up_blocks.1.attentions.1.proj_in'],
	['OUT05', 'up_blocks.1.attentions.2.proj_in'],
	['OUT06', 'up_blocks.2.attentions.0.proj_in'],
	['OUT07', 'up_blocks.2.attentions.1.proj_in'],
	['OUT08', 'up_blocks.2.attentions.2.proj_in'],
	['OUT09', 'up_blocks.3.attentions.0.proj_in'],
	['OUT10', 'up_blocks.3.attentions.1.proj_in'],
	['OUT11', 'up_blocks.3.attentions.2.proj_in'],
];

describe('blockOf', () => {
	it.each<readonly [string | undefined, string]>([
		...ATTENTIONS,
		['IN00', 'conv_in'],
		['IN03', 'down_blocks.0.downsamplers.0.conv'],
		['IN06', 'down_blocks.1.downsamplers.0.conv'],
		['IN09', 'down_blocks.2.downsamplers.0.conv'],
		['IN10', 'down_blocks.3.resnets.0.conv1'],
		['IN11', 'down_blocks.3.resnets.1.conv2'],
		['OUT00', 'up_blocks.0.resnets.0.conv1'],
		['OUT02', 'up_blocks.0.upsamplers.0.conv'],
		['OUT08', 'up_blocks.2.upsamplers.0.conv'],
		['OUT11', 'up_blocks.3.resnets.2.time_emb_proj'],
		['IN04', 'down_blocks_1_attentions_0_proj_in'],
		[undefined, 'time_embedding.linear_1'],
		[undefined, 'conv_out'],
		[undefined, 'down_blocks.9.attentions.0.proj_in'],
	])('%s: %s', (block, path) => {
		expect(blockOf(at(path))).toBe(block);
	});
	it('is BASE in every text encoder and nothing elsewhere', () => {
		expect(blockOf(at('x', 'text_encoder_2'))).toBe('BASE');
		expect(blockOf(at('down_blocks.0.attentions.0.proj_in', 'transformer'))).toBeUndefined();
	});
	it('has 26 names', () => {
		expect(BLOCK_NAMES).toHaveLength(26);
	});
});

describe('parseBlockWeights', () => {
	const modules = [at('text_model', 'text_encoder'), ...ATTENTIONS.map(([, path]) => at(path)), at('time_embedding.linear_1')];
	const adapter = adapterOf(modules, { base: sd1 });
	const numbers = Array.from({ length: 17 }, (_, i) => i / 10);

	it.each([',', '/', ', '])('reads 17 numbers separated by "%s"', (separator) => {
		const weights = parseBlockWeights(numbers.join(separator), adapter);
		expect(modules.map((m) => weights.weightOf(m))).toEqual([...numbers, 1]);
	});
	it('reads 26 numbers, also in brackets as sd-scripts has them', () => {
		const all = Array.from({ length: 26 }, (_, i) => i);
		const weights = parseBlockWeights(`[${all.join(',')}]`, adapter);
		expect(modules.map((m) => weights.weightOf(m))).toEqual([
			...['BASE', ...ATTENTIONS.map(([b]) => b)].map((b) => BLOCK_NAMES.indexOf(b)),
			1,
		]);
	});
	// The 17 numbers of sd-webui-lora-block-weight's own presets.
	it.each([
		['NONE', '0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0,0'],
		['ALL', '1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1'],
		['INS', '1,1,1,1,0,0,0,0,0,0,0,0,0,0,0,0,0'],
		['ind', '1,0,0,0,1,1,1,0,0,0,0,0,0,0,0,0,0'],
		['INALL', '1,1,1,1,1,1,1,0,0,0,0,0,0,0,0,0,0'],
		['MIDD', '1,0,0,0,1,1,1,1,1,1,1,1,0,0,0,0,0'],
		['OUTD', '1,0,0,0,0,0,0,0,1,1,1,1,0,0,0,0,0'],
		['OUTS', '1,0,0,0,0,0,0,0,0,0,0,0,1,1,1,1,1'],
		['OUTALL', '1,0,0,0,0,0,0,0,1,1,1,1,1,1,1,1,1'],
	])('%s', (name, expected) => {
		const weights = parseBlockWeights(name, adapter);
		expect(modules.map((m) => weights.weightOf(m))).toEqual([...expected.split(',').map(Number), 1]);
	});
	it('knows SDXL by 12 and 20 numbers', () => {
		const xl = adapterOf(
			[at('a', 'text_encoder'), at('down_blocks.1.attentions.0.x'), at('mid_block.attentions.0.x'), at('up_blocks.1.attentions.2.x')],
			{ base: sdxl },
		);
		const twelve = parseBlockWeights('0,1,2,3,4,5,6,7,8,9,10,11', xl);
		expect(xl.modules.map((m) => twelve.weightOf(m))).toEqual([0, 1, 5, 11]);
		const twenty = parseBlockWeights(Array.from({ length: 20 }, (_, i) => i).join('/'), xl);
		expect(xl.modules.map((m) => twenty.weightOf(m))).toEqual([0, 5, 10, 16]);
		expect(() => parseBlockWeights('MIDD', xl)).toThrow(/give 12 or 20 numbers/);
		expect(parseBlockWeights('OUTALL', xl).weightOf(at('up_blocks.0.attentions.0.x'))).toBe(1);
	});
	it.each([
		['1,1,1', /3 block weights fit no scheme of Stable Diffusion 1.x; give 17 or 26 numbers/],
		['OUTAL', /did you mean OUTALL\?/],
		['1,x,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1', /block weight of IN01 must be a number, but is "x"/],
		['1,,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1', /block weight of IN01 must be a number/],
		['FOO', /the names are NONE, ALL/],
	])('refuses %s', (text, message) => {
		expect(() => parseBlockWeights(text, adapter)).toThrow(message);
	});
	it('refuses numbers that leave a block of the adapter open, and other models', () => {
		const conv = adapterOf([...modules, at('down_blocks.0.downsamplers.0.conv')], { base: sd1 });
		expect(() => parseBlockWeights(numbers.join(','), conv)).toThrow(/17 block weights say nothing of IN03.*give 26 numbers/);
		expect(() => parseBlockWeights('ALL', adapterOf([at('single_blocks.0', 'transformer')]))).toThrow(/no module in any of their blocks/);
	});
});
