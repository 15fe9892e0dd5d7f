import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { readTorchLegacy } from '../../src/containers/torch-legacy.js';
import { readTorchZip } from '../../src/containers/torch-zip.js';
import { tensorChunks } from '../../src/tensor.js';

interface Case {
	readonly file: string;
	readonly sha256: string;
	readonly how: string;
	readonly container: 'torch-zip' | 'torch-legacy';
	readonly top: string;
	readonly wrapper: string | null;
	readonly warnings: readonly string[];
	readonly tensors: Readonly<Record<string, { readonly dtype: string; readonly shape: readonly number[]; readonly sha256: string }>>;
}

const folder = new URL('../../../../fixtures/torch/', import.meta.url);
const { cases } = JSON.parse(readFileSync(new URL('manifest.json', folder), 'utf8')) as { readonly cases: readonly Case[] };
const sha = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex');

describe('files that the real torch wrote (fixtures/torch)', () => {
	it.each(cases.map((c) => [c.file, c] as const))('%s', async (_, c) => {
		const bytes = new Uint8Array(readFileSync(new URL(c.file, folder)));
		expect(sha(bytes)).toBe(c.sha256);
		for (const remote of [false, true]) {
			const source = { ...bytesSource(bytes, c.file), remote };
			const dict = await (c.container === 'torch-zip' ? readTorchZip(source) : readTorchLegacy(source));
			const got: Record<string, unknown> = {};
			for (const [name, tensor] of dict.tensors) {
				const hash = createHash('sha256');
				for await (const chunk of tensorChunks(tensor)) hash.update(chunk);
				got[name] = { dtype: tensor.dtype, shape: tensor.shape, sha256: hash.digest('hex') };
				// A second read of the same tensor, whole this time.
				expect(sha(await tensor.read())).toBe(c.tensors[name]?.sha256);
				expect(tensor.origin).toBe(name);
			}
			expect(got).toEqual(c.tensors);
			expect([...dict.tensors.keys()]).toEqual(Object.keys(c.tensors));
			expect([dict.top, dict.wrapper ?? null, dict.container]).toEqual([c.top, c.wrapper, c.container]);
			expect(dict.warnings.map((w) => w.code).sort()).toEqual(c.warnings);
			expect(dict.smallComplete).toBe(!remote);
		}
	});

	it('reads the values of scalars with the header', async () => {
		const bytes = new Uint8Array(readFileSync(new URL('shapes.pt', folder)));
		expect((await readTorchZip(bytesSource(bytes))).small.get('scalar')).toEqual([2.5]);
	});

	it('names what is no tensor, with control characters escaped', async () => {
		const bytes = new Uint8Array(readFileSync(new URL('wrapper.ckpt', folder)));
		const dict = await readTorchZip(bytesSource(bytes, 'wrapper.ckpt'));
		expect(dict.nonTensors.slice(0, 4)).toEqual([
			{ path: 'epoch', description: 'int 17' },
			{ path: 'name', description: 'str "lora\\u000a\\u001b[31m"' },
			{ path: 'lr', description: 'float 0.0001' },
			{ path: 'set', description: 'set of 1' },
		]);
		expect(dict.warnings[0]?.message).toBe(
			'wrapper.ckpt holds 15 Python values that are no tensors and are not carried: "epoch" (int 17), "name" (str "lora\\u000a\\u001b[31m"), "lr" (float 0.0001) and 12 more.',
		);
	});
});
