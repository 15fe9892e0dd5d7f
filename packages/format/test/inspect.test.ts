import { describe, expect, it } from 'vitest';
import { inspect } from '../src/inspect.js';
import { inspectMarkdown } from '../src/inspect-markdown.js';
import { blockOf } from '../src/inspect-modules.js';
import { inspectText } from '../src/inspect-text.js';
import { DIFFUSERS, DIFFUSERS_METADATA, KOHYA, memoryInput } from './support/memory-file.js';

const HEADER = {
	ss_network_dim: '4',
	ss_tag_frequency: '{"10_sks dog":{"cat":2,"dog":5}}',
	ss_resolution: '(512, 512)',
	'modelspec.trigger_phrase': 'ohwx',
	sshs_model_hash: 'ab'.repeat(32),
};

describe('inspect', () => {
	const report = inspect(memoryInput(KOHYA, HEADER), { bytes: 12345 });

	it('says what it is in plain words', () => {
		expect(report).toMatchObject({
			kind: 'lora',
			file: { bytes: 12345, tensors: 6, parameters: 5122, dataBytes: 20488, dtypes: [{ dtype: 'F32', tensors: 6, bytes: 20488 }] },
			layout: { layout: 'kohya' },
			modules: 2,
			ranks: [{ value: 4, modules: 2 }],
			strength: { min: 0.5, max: 1 },
			families: [{ value: 'lora', modules: 2 }],
			blocks: [{ component: 'unet', block: 'down_blocks.0', modules: 2, rank: { min: 4, max: 4 }, strength: { min: 0.5, max: 1 } }],
			triggerWords: [{ word: 'ohwx' }, { word: 'sks dog' }],
			tags: [
				{ tag: 'dog', count: 5 },
				{ tag: 'cat', count: 2 },
			],
			resolution: { width: 512, height: 512 },
			hashes: [{ kind: 'sshs_model_hash', from: 'metadata' }],
			unknown: [],
			errors: [],
		});
	});

	it('is plain data', () => {
		expect(JSON.parse(JSON.stringify(report))).toEqual(report);
	});

	it('shows the runtimes that differ', () => {
		expect(inspect(memoryInput(DIFFUSERS, DIFFUSERS_METADATA)).runtimes.map((r) => r.runtime)).toEqual(['comfyui', 'sd.cpp']);
	});

	it.each([
		['no tensors', {}, 'empty', 'E_EMPTY_ADAPTER'],
		['an embedding', { emb_params: { shape: [2, 768] } }, 'not-lora', 'E_NOT_A_LORA'],
		['something else', { 'fc.weight': { shape: [2, 2] } }, 'not-lora', 'E_NOT_A_LORA'],
		['half a pair', { 'lora_unet_conv_in.lora_down.weight': { shape: [2, 4] } }, 'damaged', 'E_LORA_UNPAIRED'],
	])('never throws: %s', (_, entries, kind, code) => {
		const other = inspect(memoryInput(entries));
		expect(other.kind).toBe(kind);
		expect(other.errors.map((e) => e.code)).toContain(code);
		expect(other.what.length).toBeGreaterThan(10);
	});

	it('names unknown tensors of a sound LoRA', () => {
		expect(inspect(memoryInput({ ...KOHYA, 'extra.something': { shape: [2] } })).unknown).toEqual(['extra.something']);
	});
});

describe('printed reports', () => {
	const evil = inspect(
		memoryInput(KOHYA, { 'modelspec.trigger_phrase': '\u001b[31mred\u202e <img src=x> | `x`', ss_training_comment: 'x'.repeat(5000) }),
	);

	it('escape what a file says', () => {
		const text = inspectText(evil);
		// biome-ignore lint/suspicious/noControlCharactersInRegex: finding them is the point
		expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u202e]/);
		expect(text).toContain('\\u001b[31mred');
		expect(text).toContain('(5000 characters)');
		expect(inspectMarkdown(evil)).not.toMatch(/<img|`x`/);
	});

	it('align their labels', () => {
		const lines = inspectText(inspect(memoryInput(KOHYA, HEADER))).split('\n');
		const at = lines.find((l) => l.startsWith('file'))?.indexOf('test.safetensors');
		expect(lines.find((l) => l.startsWith('rank'))?.indexOf('4')).toBe(at);
	});
});

describe('blockOf', () => {
	it.each([
		['down_blocks.0.attentions.0.proj_in', 'down_blocks.0'],
		['mid_block.attentions.0.proj_in', 'mid_block'],
		['text_model.encoder.layers.11.mlp.fc1', 'layers.11'],
		['double_blocks.3.img_attn.qkv', 'double_blocks.3'],
		['conv_in', 'conv_in'],
		['time_embedding.linear_1', 'time_embedding'],
		['blocks.7', 'blocks.7'],
	])('%s -> %s', (path, block) => expect(blockOf(path)).toBe(block));
});
