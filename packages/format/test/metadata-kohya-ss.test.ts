import { describe, expect, it } from 'vitest';
import { readKohyaSs } from '../src/metadata/kohya-ss.js';
import { ssBoolean, ssInteger, ssJson, ssNumber, ssResolution, ssText } from '../src/metadata/ss-values.js';
import { topTags, triggerWords } from '../src/metadata/trigger-words.js';

describe('values as Python writes them', () => {
	it.each([
		['1e-4', 0.0001],
		['0.00031', 0.00031],
		['128', 128],
		['-1', -1],
		['.5', 0.5],
		['None', undefined],
		['nan', undefined],
		['Infinity', undefined],
		['0x10', undefined],
		['', undefined],
		[undefined, undefined],
	])('number %s', (text, value) => expect(ssNumber(text)).toBe(value));

	it.each([
		['4', 4],
		['4.0', 4],
		['4.5', undefined],
		['9007199254740993', undefined],
	])('integer %s', (text, value) => expect(ssInteger(text)).toBe(value));

	it.each([
		['True', true],
		['False', false],
		['None', undefined],
		['1', undefined],
	])('boolean %s', (text, value) => expect(ssBoolean(text)).toBe(value));

	it.each([
		['(512, 768)', { width: 512, height: 768 }],
		['512,512', { width: 512, height: 512 }],
		['1024', { width: 1024, height: 1024 }],
		['1024x1024', { width: 1024, height: 1024 }],
		['None', undefined],
		['(0, 512)', undefined],
		['1,2,3', undefined],
	])('resolution %s', (text, value) => expect(ssResolution(text)).toEqual(value));

	it('text and JSON', () => {
		expect(ssText('None')).toBeUndefined();
		expect(ssText(' a ')).toBe('a');
		expect(ssJson('NaN')).toEqual({ value: undefined, broken: true });
		expect(ssJson('None')).toEqual({ value: undefined, broken: false });
		expect(ssJson('{"a":1}')).toEqual({ value: { a: 1 }, broken: false });
	});
});

describe('readKohyaSs', () => {
	const ss = readKohyaSs(
		new Map([
			['ss_network_dim', 'Dynamic'],
			['ss_network_alpha', '1.0'],
			['ss_network_args', '{"algo": "lokr"}'],
			['ss_v2', 'False'],
			['ss_text_encoder_lr', '[5e-05, 5e-06]'],
			['ss_bucket_info', 'NaN'],
			['ss_tag_frequency', '{"10_sks dog": {"a": 1, "b": 3, "__proto__": 2}, "5_x": {"a": 4, "bad": "x"}, "reg": 7}'],
			['other', '1'],
		]),
	);

	it('types what it can and names broken JSON', () => {
		expect(ss.count).toBe(7);
		expect(ss.networkDim).toBe('Dynamic');
		expect(ss.networkAlpha).toBe(1);
		expect(ss.networkArgs?.get('algo')).toBe('lokr');
		expect(ss.v2).toBe(false);
		expect(ss.textEncoderLearningRate).toBe('[5e-05, 5e-06]');
		expect(ss.broken).toEqual(['ss_bucket_info']);
	});

	it('counts tags over all folders, most frequent first', () => {
		expect(topTags(ss, 2)).toEqual([
			{ tag: 'a', count: 5 },
			{ tag: 'b', count: 3 },
		]);
		expect(topTags(ss).map((t) => t.tag)).toContain('__proto__');
	});

	it('finds trigger words in modelspec and folder names', () => {
		const words = triggerWords(new Map([['modelspec.trigger_phrase', 'ohwx man, sks dog']]), [], ss);
		expect(words).toEqual([
			{ word: 'ohwx man', source: 'modelspec.trigger_phrase' },
			{ word: 'sks dog', source: 'modelspec.trigger_phrase' },
			{ word: 'x', source: 'ss_dataset_dirs' },
		]);
	});
});
