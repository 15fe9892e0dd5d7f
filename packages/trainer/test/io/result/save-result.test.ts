import fs from 'node:fs';
import path from 'node:path';
import { loadInput, validate } from '@lorakit/format';
import { createNodeSha256, openFileSource } from '@lorakit/format/node';
import { readModelCard } from '@lorakit/runtime/node';
import { describe, expect, test } from 'vitest';
import { saveResult } from '../../../src/io/result/save-result.js';
import { contents, refusal, someResult, tempDir } from './result-support.js';

const NAMES = ['README.md', 'learned_embeds.safetensors', 'pytorch_lora_weights.safetensors', 'samples/0.png', 'training.json'];

describe('saveResult', () => {
	test('writes everything, and says how large it is', async () => {
		const folder = path.join(tempDir(), 'a/b');
		const progress: number[] = [];
		const result = someResult();
		const saved = await saveResult(folder, result, { onProgress: (done) => progress.push(done) });
		expect(Object.keys(contents(folder))).toEqual(NAMES);
		expect([...saved.files].map((f) => f.path).sort()).toEqual(NAMES);
		for (const file of saved.files) expect(fs.statSync(path.join(folder, file.path)).size, file.path).toBe(file.bytes);
		for (const file of result.plan.files) expect(fs.statSync(path.join(folder, file.name)).size).toBe(file.bytes);
		expect(progress.at(-1)).toBe(result.plan.files.reduce((sum, f) => sum + f.bytes, 0));
		expect(readModelCard(fs.readFileSync(path.join(folder, 'README.md'), 'utf8')).examples[0]?.picture).toBe('samples/0.png');
		expect(JSON.parse(fs.readFileSync(path.join(folder, 'training.json'), 'utf8'))).toMatchObject({ schema: 'lora.training/1' });
		const main = await openFileSource(path.join(folder, 'pytorch_lora_weights.safetensors'));
		const report = await validate(await loadInput({ main }), { hasher: createNodeSha256 });
		expect([report.verdict, report.warnings]).toEqual(['ok', []]);
		await main.close();
	});

	test('keeps what else is in the folder, and replaces nothing without force', async () => {
		const folder = tempDir();
		fs.mkdirSync(path.join(folder, 'checkpoint-10'));
		fs.writeFileSync(path.join(folder, 'checkpoint-10/state'), 'x');
		fs.writeFileSync(path.join(folder, 'README.md'), 'mine');
		const before = contents(folder);
		expect((await refusal(() => saveResult(folder, someResult()))).code).toBe('E_OUTPUT_EXISTS');
		expect(contents(folder)).toEqual(before);
		expect(fs.existsSync(path.join(folder, 'samples'))).toBe(false);
		await saveResult(folder, someResult(), { force: true });
		expect(Object.keys(contents(folder))).toEqual([...NAMES, 'checkpoint-10/state'].sort());
	});

	test.each([0, 1, 2, 3])('a failure in file %i leaves nothing, and old files as they were', async (at) => {
		const root = tempDir();
		const folder = path.join(root, 'out');
		const result = someResult();
		const samples = new Map(result.samples);
		const files = result.plan.files.map((file, i) => {
			const { content } = file;
			if (i !== at || typeof content === 'string') return file;
			const tensors = new Map(
				[...content.tensors].map(([name, tensor], k) => [
					name,
					k === 3 || content.tensors.size < 4 ? { ...tensor, range: undefined, read: () => Promise.reject(new Error('no bytes')) } : tensor,
				]),
			);
			return { ...file, content: { ...content, tensors } };
		});
		if (at === 2) samples.set('README.md', new Uint8Array(1));
		if (at === 3) {
			// A folder stands where a file should go.
			fs.mkdirSync(path.join(folder, 'training.json/x'), { recursive: true });
		}
		await expect(saveResult(folder, { ...result, plan: { ...result.plan, files }, samples }, { force: true })).rejects.toThrow();
		expect(fs.existsSync(folder) ? contents(folder) : {}).toEqual({});
		expect(fs.existsSync(folder)).toBe(at === 3);
	});

	test('a sample outside the folder, and a file in place of the folder', async () => {
		const folder = tempDir();
		const samples = new Map([['../x.png', new Uint8Array(1)]]);
		expect((await refusal(() => saveResult(folder, { ...someResult(), samples }))).code).toBe('E_NAME');
		fs.writeFileSync(path.join(folder, 'file'), '');
		expect((await refusal(() => saveResult(path.join(folder, 'file'), someResult()))).code).toBe('E_IO');
	});

	test('the same result is the same bytes', async () => {
		const [one, two] = [tempDir(), tempDir()];
		await saveResult(one, someResult({ dtype: 'F16', layout: 'kohya' }));
		await saveResult(two, someResult({ dtype: 'F16', layout: 'kohya' }));
		expect(contents(one)).toEqual(contents(two));
	});
});
