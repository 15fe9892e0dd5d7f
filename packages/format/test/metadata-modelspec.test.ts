import { describe, expect, it } from 'vitest';
import { cardFacts } from '../src/metadata/card.js';
import { setMetadata, stripMetadata } from '../src/metadata/edit.js';
import { readModelSpec, writeModelSpec } from '../src/metadata/modelspec.js';

describe('modelspec', () => {
	it('writes what it accepts', () => {
		const entries = writeModelSpec({
			title: 'My LoRA',
			architecture: 'stable-diffusion-v1/lora',
			resolution: { width: 512, height: 512 },
			date: '2026-11-24T00:00:00Z',
			tags: ['a', 'b'],
			triggerPhrase: 'sks',
			modelHash: 'ab'.repeat(32),
		});
		expect([...entries.keys()]).toEqual([
			'modelspec.sai_model_spec',
			'modelspec.architecture',
			'modelspec.implementation',
			'modelspec.title',
			'modelspec.resolution',
			'modelspec.date',
			'modelspec.hash_sha256',
			'modelspec.tags',
			'modelspec.trigger_phrase',
		]);
		expect(readModelSpec(entries).problems).toEqual([]);
	});

	it.each([
		['modelspec.resolution', '512'],
		['modelspec.date', 'yesterday'],
		['modelspec.hash_sha256', 'abc'],
		['modelspec.prediction_type', 'x0'],
		['modelspec.sai_model_spec', 'one'],
		['modelspec.colour', 'red'],
	])('names the rule that %s = %s breaks', (key, value) => {
		const entries = writeModelSpec({ title: 't', architecture: 'flux-1-dev/lora' }).set(key, value);
		const { problems } = readModelSpec(entries);
		expect(problems).toHaveLength(1);
		expect(problems[0]).toContain(key);
	});

	it('says nothing about a header without it', () => {
		expect(readModelSpec(new Map([['format', 'pt']]))).toMatchObject({ present: false, problems: [] });
	});
});

describe('cardFacts', () => {
	it('reads who wrote it', () => {
		expect(cardFacts(new Map([['software', '{"name":"ai-toolkit","version":"0.1"}']])).software).toBe('ai-toolkit');
		expect(cardFacts(new Map([['ss_network_module', 'networks.lora']])).software).toBe('sd-scripts');
		expect(cardFacts(new Map([['lora_adapter_metadata', '{"unet.base_model_name_or_path":"sd15"}']])).baseModel).toBe('sd15');
		expect(cardFacts(new Map([['software', '{broken']])).software).toBe('{broken');
	});
});

describe('meta edits', () => {
	const header = new Map([
		['ss_network_dim', '4'],
		['ss_tag_frequency', '{}'],
		['ss_training_comment', 'me'],
		['my_path', 'model at /home/me/sd.ckpt'],
		['lora_adapter_metadata', '{"a":"/home/me"}'],
		['unet', '["CrossAttention"]'],
		['unet:0:rank', '4'],
		['<s1>', '<embed>'],
	]);

	it('strips what is private and nothing that the tensors need', () => {
		const { metadata, removed } = stripMetadata(header, 'private');
		expect(removed).toEqual(['ss_tag_frequency', 'ss_training_comment', 'my_path']);
		expect([...metadata.keys()]).toEqual(['ss_network_dim', 'lora_adapter_metadata', 'unet', 'unet:0:rank', '<s1>']);
	});

	it('strips all but the meaning', () => {
		expect([...stripMetadata(header, 'all').metadata.keys()]).toEqual(['lora_adapter_metadata', 'unet', 'unet:0:rank', '<s1>']);
	});

	it('strips named entries whatever they are', () => {
		expect(stripMetadata(header, ['lora_adapter_metadata', 'nothing']).removed).toEqual(['lora_adapter_metadata']);
	});

	it('sets entries', () => {
		const { metadata, set } = setMetadata(header, [
			['ss_network_dim', '4'],
			['new', 'x'],
		]);
		expect(set).toEqual(['new']);
		expect([...metadata.keys()].at(-1)).toBe('new');
		expect(header.has('new')).toBe(false);
	});
});
