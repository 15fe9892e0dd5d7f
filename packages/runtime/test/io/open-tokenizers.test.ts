import path from 'node:path';
import { describe, expect, it } from 'vitest';
import type { Base } from '../../src/base/base.js';
import { openTokenizers } from '../../src/io/open-tokenizers.js';

const SHAPES = path.resolve(import.meta.dirname, '../../../../fixtures/runtime/tiny-shapes');
const encoder = (component: 'text_encoder' | 'text_encoder_2'): Base['textEncoders'][number] =>
	({ component }) as Base['textEncoders'][number];
const base = (count: 1 | 2): Pick<Base, 'name' | 'textEncoders' | 'tokenizers'> => ({
	name: 'base',
	textEncoders: [encoder('text_encoder'), encoder('text_encoder_2')].slice(0, count),
	tokenizers: [],
});

describe('openTokenizers', () => {
	it('finds the files in a folder, and in its folder of that name', async () => {
		expect(await openTokenizers(base(1), path.join(SHAPES, 'tokenizer'), '--tokenizer')).toHaveLength(1);
		expect(await openTokenizers(base(1), SHAPES, '--tokenizer')).toHaveLength(1);
	});

	// CLIP's two tokenizers differ in what they pad with (openai/clip-vit-large-patch14, laion/CLIP-ViT-bigG-14).
	it('takes no single folder for both text encoders of SDXL', async () => {
		await expect(openTokenizers(base(2), path.join(SHAPES, 'tokenizer'), '--tokenizer')).rejects.toMatchObject({ code: 'E_USAGE' });
	});

	it('names what the user can do where there is none', async () => {
		await expect(openTokenizers(base(1), undefined, '--tokenizer DIR')).rejects.toMatchObject({
			code: 'E_USAGE',
			message: expect.stringContaining('--tokenizer DIR') as string,
		});
	});
});
