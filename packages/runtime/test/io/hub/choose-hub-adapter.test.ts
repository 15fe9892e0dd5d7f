import { describe, expect, it } from 'vitest';
import { chooseHubAdapter } from '../../../src/io/hub/choose-hub-adapter.js';
import { isLocalPath } from '../../../src/io/hub/hub-name.js';
import { isSafeHubPath } from '../../../src/io/hub/hub-path.js';
import { refusal } from './support.js';

const SPEC = { repo: 'me/lora', revision: 'main', path: '' };

describe('chooseHubAdapter', () => {
	it.each([
		[
			'the name of diffusers',
			['other.safetensors', 'pytorch_lora_weights.safetensors', 'pytorch_lora_weights.bin'],
			'pytorch_lora_weights.safetensors',
		],
		[
			'the only safetensors, whatever torch files are beside',
			['for-webui.safetensors', 'pytorch_lora_weights.bin', 'optimizer.bin'],
			'for-webui.safetensors',
		],
		["torch's, when there is nothing else", ['README.md', 'pytorch_lora_weights.bin', 'training_args.bin'], 'pytorch_lora_weights.bin'],
		[
			'not the state of a checkpoint in a folder',
			['pytorch_lora_weights.bin', 'checkpoint-500/model.safetensors'],
			'pytorch_lora_weights.bin',
		],
		['not the embeddings of a torch file', ['pytorch_lora_weights.bin', 'run_emb.safetensors'], 'pytorch_lora_weights.bin'],
		['the only one in a folder', ['README.md', 'weights/lora.safetensors'], 'weights/lora.safetensors'],
	])('takes %s', (_what, paths, main) => {
		expect(chooseHubAdapter(paths, SPEC).main).toBe(main);
	});

	it('names what belongs to it, in its own folder', () => {
		const paths = ['adapter_config.json', 'a/adapter_config.json', 'a/x.safetensors', 'a/x_emb.safetensors', 'x_emb.safetensors'];
		expect(chooseHubAdapter(paths, { ...SPEC, path: 'a/x.safetensors' }).companions).toEqual([
			'a/adapter_config.json',
			'a/x_emb.safetensors',
		]);
	});

	it('refuses none and several', async () => {
		expect((await refusal(() => chooseHubAdapter(['README.md', 'optimizer.bin'], SPEC))).message).toContain('holds no weight file');
		const kohya = ['dog-000002.safetensors', 'dog-000004.safetensors', 'dog.safetensors'];
		const error = await refusal(() => chooseHubAdapter(kohya, SPEC));
		expect([error.code, error.message]).toEqual([
			'E_HUB',
			'"me/lora" holds 3 adapters: "dog-000002.safetensors", "dog-000004.safetensors", "dog.safetensors"; name one of them: me/lora/FILE or me/lora:FILE.',
		]);
		expect((await refusal(() => chooseHubAdapter(['README.md'], { ...SPEC, path: 'x.safetensors' }))).message).toContain(
			'it has no weight files',
		);
	});
});

describe('paths', () => {
	it('tells paths of a machine from repositories', () => {
		for (const path of ['/a', './a', '../a', '~/a', '.', 'C:\\a', 'd:/a', '\\\\s\\a', 'a\\b', 'file:///a', 'a/b/c'])
			expect(isLocalPath(path)).toBe(true);
		for (const name of ['a/b', 'CompVis/stable-diffusion-v1-4', 'https://huggingface.co/a/b', 'sd15'])
			expect(isLocalPath(name)).toBe(false);
	});

	it('takes no path that leaves its folder on any system', () => {
		for (const path of ['a', 'a/b.c', 'a b/ü.safetensors', '..a/b..', 'ab:c']) expect(isSafeHubPath(path)).toBe(true);
		for (const path of ['', '/a', '..', 'a/../b', './a', 'a//b', 'a/', 'a\\b', 'C:a', 'a:b', 'x/C:/b', 'a\0b', 'a\nb', 'a'.repeat(1025)]) {
			expect(isSafeHubPath(path)).toBe(false);
		}
	});
});
