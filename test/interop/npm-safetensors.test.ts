import fs from 'node:fs';
import { createRequire } from 'node:module';
import path from 'node:path';
import { describe, expect, test } from 'vitest';
import { bytesSource } from '../../packages/format/src/byte-source.js';
import { readSafetensors, safetensorsBytes } from '../../packages/format/src/containers/index.js';
import { FormatError } from '../../packages/format/src/errors.js';
import { bytesTensor } from '../../packages/format/src/tensor.js';

/**
 * The npm package `safetensors` 0.0.1 (one class, no checks) beside ours: where it reads a file at all, both give the
 * same bytes; the rest of this page is the list of what it fails at, so that nobody takes it for a reader.
 */
interface SafeTensor {
	readonly metadata: ReadonlyMap<string, { readonly dtype: string; readonly shape: readonly number[] }>;
	getTensor(name: string): Uint8Array;
}
// Its ESM build is not marked as a module, so only `require` finds it.
const { SafeTensor } = createRequire(import.meta.url)('safetensors') as { SafeTensor: new (bytes: Uint8Array) => SafeTensor };

const FIXTURES = path.resolve(import.meta.dirname, '../../fixtures');
const own = (file: string): Uint8Array => new Uint8Array(fs.readFileSync(path.join(FIXTURES, file)));
const source = (json: string, data: Uint8Array): Uint8Array => {
	const header = new TextEncoder().encode(json);
	const bytes = new Uint8Array(8 + header.byteLength + data.byteLength);
	new DataView(bytes.buffer).setBigUint64(0, BigInt(header.byteLength), true);
	bytes.set(header, 8);
	bytes.set(data, 8 + header.byteLength);
	return bytes;
};

describe('a file without metadata', () => {
	test('is read alike by both', async () => {
		const values = new Uint8Array([1, 2, 3, 4, 5, 6, 7, 8]);
		const bytes = await safetensorsBytes(new Map([['a', bytesTensor('F16', [2, 2], values)]]), new Map());
		const theirs = new SafeTensor(bytes);
		const ours = await readSafetensors(bytesSource(bytes));
		expect([...theirs.metadata.keys()]).toEqual([...ours.tensors.keys()]);
		expect([...theirs.getTensor('a')]).toEqual([...((await ours.tensors.get('a')?.read()) ?? [])]);
	});
});

describe('what safetensors 0.0.1 fails at', () => {
	test('any file with metadata: it throws, ours reads it', async () => {
		const bytes = own('adapters/kohya/kohya_attn_bf16_part.safetensors');
		expect(() => new SafeTensor(bytes)).toThrow(TypeError);
		expect((await readSafetensors(bytesSource(bytes))).metadata.size).toBeGreaterThan(0);
	});

	test('a Node buffer inside a pool: it reads the length from the wrong place', () => {
		const pooled = Buffer.concat([Buffer.alloc(16, 1), own('safetensors/no-tensors.safetensors')]).subarray(16);
		expect(() => new SafeTensor(pooled)).toThrow();
	});

	test.each([
		['bytes behind the last tensor', '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}', [1, 2], 'E_TRAILING'],
		[
			'two tensors over the same bytes',
			'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"b":{"dtype":"U8","shape":[1],"data_offsets":[0,1]}}',
			[1],
			'E_OVERLAP',
		],
		[
			'a name twice: the first is gone',
			'{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"a":{"dtype":"U8","shape":[1],"data_offsets":[1,2]}}',
			[1, 2],
			'E_DUPLICATE_KEY',
		],
		['a shape that does not fit', '{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,4]}}', [1, 2, 3, 4], 'E_SHAPE'],
		['an unknown dtype', '{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}', [1, 2, 3, 4], 'E_DTYPE'],
		['a range beyond the file', '{"a":{"dtype":"U8","shape":[9],"data_offsets":[0,9]}}', [1], 'E_TRUNCATED'],
	])('%s: it accepts, ours refuses', async (_what, json, data, code) => {
		const bytes = source(json, new Uint8Array(data));
		expect(() => new SafeTensor(bytes)).not.toThrow();
		const refused = await readSafetensors(bytesSource(bytes)).then(
			() => undefined,
			(error: unknown) => error,
		);
		expect(refused).toBeInstanceOf(FormatError);
		expect(refused).toMatchObject({ code });
	});
});
