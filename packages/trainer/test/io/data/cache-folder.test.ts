import { execFile } from 'node:child_process';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { promisify } from 'node:util';
import type { Warning } from '@lorakit/format';
import { f32Tensor, i32Tensor } from '@lorakit/runtime';
import fc from 'fast-check';
import { afterEach, describe, expect, it } from 'vitest';
import type { CachedTensors } from '../../../src/data/cache-tensors.js';
import { createLatentSource } from '../../../src/data/latent-cache.js';
import { createFolderCache } from '../../../src/io/data/cache-folder.js';
import { refusal } from '../../data/parquet-support.js';

const made: string[] = [];
afterEach(() => {
	for (const folder of made.splice(0)) fs.rmSync(folder, { recursive: true, force: true });
});

function tempFolder(): string {
	const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'lorakit-cache-'));
	made.push(folder);
	return folder;
}

const KEY = `ab${'0'.repeat(62)}`;
const TENSORS: CachedTensors = {
	mean: f32Tensor(
		[1, 4, 2, 2],
		Float32Array.from({ length: 16 }, (_, i) => Math.sin(i) / 3),
	),
	// Bits that do not survive numbers everywhere.
	logvar: f32Tensor([2], Float32Array.of(-0, Number.NaN)),
	ids: i32Tensor([3], Int32Array.of(1, -2, 49407)),
};

const filesIn = (folder: string): string[] =>
	fs
		.readdirSync(folder, { recursive: true, withFileTypes: true })
		.filter((e) => e.isFile())
		.map((e) => path.join(e.parentPath, e.name));

describe('the cache on disk', () => {
	it('gives back the bits that were put, in another process too, and nothing for other keys', async () => {
		const folder = path.join(tempFolder(), 'made', 'when', 'needed');
		await createFolderCache(folder).put(KEY, TENSORS);
		const again = createFolderCache(folder);
		expect(await again.get(KEY)).toEqual(TENSORS);
		expect(await again.get(`ac${'0'.repeat(62)}`)).toBeUndefined();
		expect(filesIn(folder).map((file) => path.relative(folder, file))).toEqual([path.join('ab', `${'0'.repeat(62)}.safetensors`)]);
		await expect(again.get('../../etc/passwd')).rejects.toThrow(TypeError);
	});

	it('warns of any damage, and makes the file anew', async () => {
		const folder = tempFolder();
		const warnings: Warning[] = [];
		const cache = createFolderCache(folder, { onWarning: (warning) => warnings.push(warning) });
		await cache.put(KEY, TENSORS);
		const [file = ''] = filesIn(folder);
		const whole = fs.readFileSync(file);
		await fc.assert(
			fc.asyncProperty(
				fc.nat(whole.byteLength - 1),
				fc.integer({ min: 1, max: 255 }),
				fc.constantFrom('flip', 'cut', 'grow'),
				async (at, bits, how) => {
					const bytes =
						how === 'flip'
							? Buffer.from(whole)
							: how === 'cut'
								? whole.subarray(0, at)
								: Buffer.concat([whole, Buffer.alloc(1 + (at % 9), bits)]);
					if (how === 'flip') bytes[at] = (bytes[at] ?? 0) ^ bits;
					fs.writeFileSync(file, bytes);
					warnings.length = 0;
					// The padding of the header may hold other white space; then nothing is damaged.
					const found = await cache.get(KEY);
					if (found !== undefined) expect(found).toEqual(TENSORS);
					else
						expect(warnings).toEqual([
							{ code: 'W_CACHE_DAMAGED', message: expect.stringMatching(/in the cache is damaged and is made anew: /), at: file },
						]);
				},
			),
			{ numRuns: 400, seed: 4 },
		);
		fs.writeFileSync(file, whole.subarray(0, 100));
		await cache.put(KEY, TENSORS);
		expect(fs.readFileSync(file).equals(whole)).toBe(true);
	});

	it('takes no file of another key', async () => {
		const folder = tempFolder();
		const warnings: Warning[] = [];
		const cache = createFolderCache(folder, { onWarning: (warning) => warnings.push(warning) });
		await cache.put(KEY, TENSORS);
		const [file = ''] = filesIn(folder);
		fs.copyFileSync(file, path.join(path.dirname(file), `${'1'.repeat(62)}.safetensors`));
		expect(await cache.get(`ab${'1'.repeat(62)}`)).toBeUndefined();
		expect(warnings[0]?.message).toContain('another key');
	});

	it('puts a damaged picture right in the course of a run', async () => {
		const folder = tempFolder();
		const warnings: Warning[] = [];
		const cache = createFolderCache(folder, { onWarning: (warning) => warnings.push(warning) });
		let encoded = 0;
		const source = createLatentSource({
			cache,
			encode: async () => {
				encoded++;
				return { mean: f32Tensor([1, 1, 1, 2], Float32Array.of(0.1, 0.2)), logvar: f32Tensor([1, 1, 1, 2], Float32Array.of(-3, -4)) };
			},
		});
		const ask = () => source.latents([{ key: KEY, pixels: () => f32Tensor([1, 3, 8, 16], new Float32Array(384)) }]);
		const first = await ask();
		const [file = ''] = filesIn(folder);
		const bytes = fs.readFileSync(file);
		bytes[bytes.byteLength - 1] = (bytes[bytes.byteLength - 1] ?? 0) ^ 64;
		fs.writeFileSync(file, bytes);
		expect(await ask()).toEqual(first);
		expect(await ask()).toEqual(first);
		expect([encoded, warnings.length]).toEqual([2, 1]);
	});

	it.each(['writeSync', 'openSync', 'renameSync'] as const)(
		'leaves nothing half written when the disk is full at %s, and keeps the old file',
		async (call) => {
			const folder = tempFolder();
			await createFolderCache(folder).put(KEY, TENSORS);
			const [file = ''] = filesIn(folder);
			const before = fs.readFileSync(file);
			const full = createFolderCache(folder, {
				calls: {
					[call]: () => {
						throw Object.assign(new Error('no space left on device'), { code: 'ENOSPC', syscall: call });
					},
				},
			});
			const error = await refusal(() => full.put(KEY, { mean: f32Tensor([1], Float32Array.of(1)) }));
			expect(error.code).toBe('E_NO_SPACE');
			expect((await refusal(() => full.put(`ac${'0'.repeat(62)}`, TENSORS))).code).toBe('E_NO_SPACE');
			expect(filesIn(folder)).toEqual([file]);
			expect(fs.readFileSync(file).equals(before)).toBe(true);
		},
	);

	it('says when the folder cannot be one', async () => {
		const file = path.join(tempFolder(), 'file');
		fs.writeFileSync(file, 'x');
		expect((await refusal(() => createFolderCache(path.join(file, 'cache')))).code).toBe('E_IO');
	});

	it('is safe under processes that write and read the same keys at once', async () => {
		const folder = tempFolder();
		const script = path.join(import.meta.dirname, 'cache-worker.mjs');
		const run = promisify(execFile);
		const results = await Promise.all(['1', '2', '3'].map((seed) => run(process.execPath, [script, folder, seed])));
		expect(results.map(({ stdout }) => stdout.trim())).toEqual(['sound', 'sound', 'sound']);
		expect(filesIn(folder).filter((file) => !file.endsWith('.safetensors'))).toEqual([]);
		expect(filesIn(folder).length).toBe(8);
	});
});
