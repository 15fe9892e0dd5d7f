import { describe, expect, it } from 'vitest';
import { MAX_CARD_BYTES } from '../../../src/io/hub/hub-limits.js';
import { readModelCard } from '../../../src/io/hub/index.js';

/** The card of the post's own adapter, as it stands on the Hub: a line end before the front matter, spaces after it. */
const POST_CARD = `
---
license: creativeml-openrail-m
base_model: CompVis/stable-diffusion-v1-4
tags:
- stable-diffusion
- stable-diffusion-diffusers
- text-to-image
- diffusers
- lora
inference: true
---
    
# LoRA text2image fine-tuning - https://huggingface.co/sayakpaul/sd-model-finetuned-lora-t4
These are LoRA adaption weights for https://huggingface.co/sayakpaul/sd-model-finetuned-lora-t4. The weights were fine-tuned on the lambdalabs/pokemon-blip-captions dataset.
`;

describe('readModelCard', () => {
	it('reads the card of the post', () => {
		expect(readModelCard(POST_CARD)).toEqual({
			baseModels: ['CompVis/stable-diffusion-v1-4'],
			baseModelRelation: undefined,
			baseInText: 'https://huggingface.co/sayakpaul/sd-model-finetuned-lora-t4',
			tags: ['stable-diffusion', 'stable-diffusion-diffusers', 'text-to-image', 'diffusers', 'lora'],
			instancePrompt: undefined,
			license: 'creativeml-openrail-m',
			libraryName: undefined,
			pipelineTag: undefined,
			examples: [],
			warnings: [],
		});
	});

	it('reads a card of the DreamBooth script', () => {
		const card = readModelCard(
			[
				'---',
				'base_model:',
				'- stabilityai/stable-diffusion-xl-base-1.0',
				'- madebyollin/sdxl-vae-fp16-fix',
				'base_model_relation: adapter',
				'instance_prompt: a photo of sks dog',
				'library_name: diffusers',
				'pipeline_tag: text-to-image',
				'license: openrail++',
				'tags: [lora, template:sd-lora]',
				'widget:',
				'- text: a dog, on a beach',
				'  output:',
				'    url: images/0.png',
				'- text: no picture',
				'- output: {url: x.png}',
				'---',
				'# T',
			].join('\r\n'),
		);
		expect(card).toMatchObject({
			baseModels: ['stabilityai/stable-diffusion-xl-base-1.0', 'madebyollin/sdxl-vae-fp16-fix'],
			baseModelRelation: 'adapter',
			instancePrompt: 'a photo of sks dog',
			libraryName: 'diffusers',
			pipelineTag: 'text-to-image',
			license: 'openrail++',
			tags: ['lora', 'template:sd-lora'],
			examples: [
				{ text: 'a dog, on a beach', picture: 'images/0.png' },
				{ text: 'no picture', picture: undefined },
			],
			warnings: [],
		});
	});

	it('finds the base in the text of cards without front matter', () => {
		const text = (sentence: string) => readModelCard(`# LoRA DreamBooth\n${sentence} The weights were trained on sks dog\n`).baseInText;
		expect(text('These are LoRA adaption weights for CompVis/stable-diffusion-v1-4.')).toBe('CompVis/stable-diffusion-v1-4');
		expect(text('These are LoRA adaption weights for stabilityai/stable-diffusion-xl-base-1.0.')).toBe(
			'stabilityai/stable-diffusion-xl-base-1.0',
		);
		expect(text('These are a/b LoRA adaptation weights for runwayml/stable-diffusion-v1-5.')).toBe('runwayml/stable-diffusion-v1-5');
		expect(text('These are LoRA adapter weights for [a/b](https://huggingface.co/a/b).')).toBe('a/b');
		expect(text('These are LoRA adaption weights for /home/me/sd.')).toBe('/home/me/sd');
		expect(text('These are weights for a/b.')).toBeUndefined();
	});

	it('takes an empty card, one without front matter, and one of front matter alone', () => {
		for (const text of ['', '# Title', '--- no front matter\n', '---\n---\n', '---\n# only a comment\n---']) {
			expect(readModelCard(text)).toMatchObject({ baseModels: [], warnings: [] });
		}
		expect(readModelCard('\ufeff---\nbase_model: a/b\n---').baseModels).toEqual(['a/b']);
		expect(readModelCard('---\nbase_model: a/b\n---').baseModels).toEqual(['a/b']);
		expect(readModelCard('---\nbase_model: a/b\n').baseModels).toEqual([]);
	});

	it('drops values of the wrong kind', () => {
		const card = readModelCard(
			'---\nbase_model: {a: b}\ntags: [1, null, [x], yes, " "]\nlicense: [mit]\nwidget: text\ninstance_prompt: 7\n---\n',
		);
		expect(card).toMatchObject({ baseModels: [], tags: ['1', 'yes'], license: undefined, examples: [], instancePrompt: '7', warnings: [] });
		expect(readModelCard('---\n- a list\n---\n').warnings[0]?.code).toBe('W_METADATA_PARSE');
	});

	it('gives a warning, never an error, for front matter that is broken or hostile', () => {
		const laughs = ['a: &a [x,x,x,x,x,x,x,x,x,x]'];
		for (let i = 0; i < 12; i++)
			laughs.push(`${'bcdefghijklmn'[i]}: &${'bcdefghijklmn'[i]} [${Array(10).fill(`*${'abcdefghijklm'[i]}`).join(',')}]`);
		for (const yaml of [
			'a: [1',
			'a: "b',
			'\tx: y',
			laughs.join('\n'),
			`a: ${'['.repeat(50_000)}`,
			`a: ${'{a: '.repeat(20_000)}`,
			`a: "${'x'.repeat(200_000)}"`,
			'a: *nowhere',
			'base_model: !!js/function "function () { throw 1 }"\nx: [',
		]) {
			const card = readModelCard(`---\n${yaml}\n---\nThese are LoRA adaption weights for a/b.\n`);
			expect(card.warnings.map(({ code }) => code)).toEqual(['W_METADATA_PARSE']);
			expect(card.baseModels).toEqual([]);
			expect(card.baseInText).toBe('a/b');
		}
		expect(readModelCard('x'.repeat(MAX_CARD_BYTES + 1)).warnings.length).toBe(1);
	});

	it('lets no key mean anything to JavaScript', () => {
		const card = readModelCard('---\n__proto__: {polluted: 1}\nconstructor: x\nbase_model: a/b\n---\n');
		expect(card.baseModels).toEqual(['a/b']);
		expect(Reflect.get({}, 'polluted')).toBeUndefined();
	});

	it('reads many lines of dashes and white space without delay', () => {
		for (const text of [`${' \n'.repeat(300_000)}x`, `---\n${'--\n---x\n'.repeat(10_000)}`, '\n---'.repeat(100_000)]) readModelCard(text);
	});
});
