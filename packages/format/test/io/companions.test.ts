import { execFileSync } from 'node:child_process';
import fs from 'node:fs';
import path from 'node:path';
import { describe, expect, it } from 'vitest';
import { companionNames, findCompanions, rememberingLister, resolveInput } from '../../src/io/index.js';
import { refusal, tempDir, writeTree } from './temp-dir.js';

const files = (...names: readonly string[]) => Object.fromEntries(names.map((name) => [name, 'x']));

describe('companionNames', () => {
	it.each([
		['foo.pt', ['foo.text_encoder.pt', 'foo.ti.pt', 'bar.ti.pt'], 'foo.text_encoder.pt', ['foo.ti.pt']],
		['foo.v2.pt', ['foo.v2.text_encoder.pt', 'foo.text_encoder.pt'], 'foo.v2.text_encoder.pt', []],
		['foo.safetensors', ['foo.text_encoder.pt', 'foo.ti.pt'], undefined, []],
		['foo.text_encoder.pt', ['foo.pt', 'foo.ti.pt', 'foo.text_encoder.ti.pt'], undefined, []],
		['foo.ti.pt', ['foo.ti.ti.pt', 'foo.pt'], undefined, []],
		[
			'foo.safetensors',
			['foo_emb.safetensors', 'foo_emb_2.safetensors', 'foo_emb2.safetensors'],
			undefined,
			['foo_emb.safetensors', 'foo_emb2.safetensors', 'foo_emb_2.safetensors'],
		],
		['foo.safetensors', ['foo_embroidery.safetensors', 'foo_emb.bin', 'foo_emb.safetensors.bak', 'xfoo_emb.safetensors'], undefined, []],
		['foo.pt', ['foo_emb.safetensors', 'foo.ti.pt'], undefined, ['foo.ti.pt', 'foo_emb.safetensors']],
		['foo.safetensors', ['foo_embeddings.safetensors'], undefined, ['foo_embeddings.safetensors']],
		['pytorch_lora_weights.safetensors', ['style_emb.safetensors', 'style.safetensors'], undefined, ['style_emb.safetensors']],
		['pytorch_lora_weights.bin', ['a_emb.safetensors', 'b_emb.safetensors'], undefined, []],
		[
			'pytorch_lora_weights.safetensors',
			['learned_embeds.safetensors', 'learned_embeds_2.safetensors', 'learned_embeds-steps-500.safetensors'],
			undefined,
			['learned_embeds.safetensors', 'learned_embeds_2.safetensors'],
		],
		['other.safetensors', ['learned_embeds.safetensors'], undefined, []],
	] as const)('%s among %j', (main, beside, textEncoder, embeddings) => {
		expect(companionNames(main, [main, ...beside])).toEqual({ textEncoder, embeddings, config: undefined });
	});

	it('takes adapter_config.json for any file', () => {
		expect(companionNames('adapter_model.bin', ['adapter_config.json']).config).toBe('adapter_config.json');
		expect(companionNames('out.safetensors', ['adapter_config.json']).config).toBe('adapter_config.json');
	});
});

describe('findCompanions', () => {
	it('keeps the spelling of the path and takes regular files only', async () => {
		const dir = tempDir();
		writeTree(dir, files('foo.pt', 'foo.text_encoder.pt', 'adapter_config.json'));
		execFileSync('mkfifo', [path.join(dir, 'foo.ti.pt')]);
		fs.mkdirSync(path.join(dir, 'foo_emb.safetensors'));
		expect(await findCompanions(`${dir}/./foo.pt`)).toEqual({
			textEncoder: `${dir}/./foo.text_encoder.pt`,
			embeddings: [],
			config: `${dir}/./adapter_config.json`,
		});
		expect((await findCompanions(`${dir}/model.weights`)).config).toBe(`${dir}/adapter_config.json`);
	});

	it('finds none beside what is not there', async () => {
		const none = { textEncoder: undefined, embeddings: [], config: undefined };
		expect(await findCompanions('/no/such/folder/x.pt')).toEqual(none);
		expect(await findCompanions('a\0b.pt')).toEqual(none);
		expect(await findCompanions('')).toEqual(none);
	});

	it('lists a folder once with a remembering lister', async () => {
		const dir = tempDir();
		writeTree(dir, files('a.pt', 'a.ti.pt'));
		const list = rememberingLister();
		expect((await findCompanions(path.join(dir, 'a.pt'), list)).embeddings).toEqual([path.join(dir, 'a.ti.pt')]);
		expect(list(dir)).toBe(list(dir));
	});
});

describe('resolveInput on folders', () => {
	it.each([
		['PEFT', ['adapter_config.json', 'adapter_model.safetensors', 'README.md'], 'adapter_model.safetensors', []],
		['PEFT in both containers', ['adapter_model.bin', 'adapter_model.safetensors'], 'adapter_model.safetensors', []],
		['diffusers', ['pytorch_lora_weights.bin', 'logs/x'], 'pytorch_lora_weights.bin', []],
		['the only file', ['style.safetensors', 'style.png'], 'style.safetensors', []],
		['cloneofsimo', ['foo.pt', 'foo.text_encoder.pt', 'foo.ti.pt'], 'foo.pt', []],
		['with embeddings', ['foo.safetensors', 'foo_emb.safetensors'], 'foo.safetensors', []],
		['a LoRA about embroidery', ['my_embroidery.safetensors'], 'my_embroidery.safetensors', []],
		[
			'a well-known name first',
			['pytorch_lora_weights.safetensors', 'x.safetensors'],
			'pytorch_lora_weights.safetensors',
			['x.safetensors'],
		],
		[
			'training state',
			['adapter_model.bin', 'optimizer.pt', 'scheduler.pt', 'rng_state_0.pth', 'training_args.bin'],
			'adapter_model.bin',
			[],
		],
		['only training state beside', ['lora.pt', 'optimizer.bin'], 'lora.pt', []],
		['a checkpoint beside', ['adapter_model.bin', 'checkpoint-5/adapter_model.bin'], 'adapter_model.bin', []],
		['a sub-folder', ['unet/adapter_model.safetensors', 'unet/adapter_config.json'], 'unet/adapter_model.safetensors', []],
		['a file in a sub-folder', ['v1/lora.safetensors'], 'v1/lora.safetensors', []],
	] as const)('%s', async (_, names, main, others) => {
		const dir = tempDir();
		writeTree(dir, files(...names));
		const resolved = await resolveInput(dir);
		expect([resolved.main, resolved.others]).toEqual([path.join(dir, main), others.map((name) => path.join(dir, name))]);
	});

	it.each([
		['two files', ['b.pt', 'a.safetensors'], '"a.safetensors", "b.pt"'],
		['both well-known names', ['adapter_model.bin', 'pytorch_lora_weights.bin'], '"adapter_model.bin", "pytorch_lora_weights.bin"'],
		[
			'two sub-folders',
			['unet/adapter_model.bin', 'text_encoder/adapter_model.bin'],
			'"text_encoder/adapter_model.bin", "unet/adapter_model.bin"',
		],
	] as const)('refuses %s', async (_, names, listed) => {
		const dir = tempDir();
		writeTree(dir, files(...names));
		const error = await refusal(() => resolveInput(dir));
		expect([error.code, error.message]).toEqual(['E_AMBIGUOUS', `"${dir}" holds 2 adapters: ${listed}; name one of them.`]);
	});

	it('refuses a folder without an adapter', async () => {
		const dir = tempDir();
		expect((await refusal(() => resolveInput(dir))).code).toBe('E_NOT_A_FILE');
		writeTree(dir, files('README.md', 'deep/er/lora.pt', '.hidden/lora.pt'));
		expect((await refusal(() => resolveInput(dir))).code).toBe('E_NOT_A_FILE');
	});

	it('takes a repository folder of the Hub’s cache', async () => {
		const dir = tempDir();
		const [a, b] = ['a'.repeat(40), 'b'.repeat(40)];
		writeTree(dir, { [`snapshots/${a}/x.pt`]: 'x', [`snapshots/${b}/x.pt`]: 'x', 'refs/main': b });
		expect((await resolveInput(dir)).main).toBe(path.join(dir, `snapshots/${b}/x.pt`));
	});

	it('gives a file with its companions, and leaves what is not there to the opening', async () => {
		const dir = tempDir();
		writeTree(dir, files('foo.pt', 'foo.ti.pt'));
		expect(await resolveInput(path.join(dir, 'foo.pt'))).toEqual({
			main: path.join(dir, 'foo.pt'),
			companions: { textEncoder: undefined, embeddings: [path.join(dir, 'foo.ti.pt')], config: undefined },
			others: [],
		});
		expect((await resolveInput(path.join(dir, 'gone.pt'))).main).toBe(path.join(dir, 'gone.pt'));
		expect((await resolveInput('-')).companions.embeddings).toEqual([]);
	});
});
