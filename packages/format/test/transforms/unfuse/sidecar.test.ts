import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../../src/byte-source.js';
import { readSafetensors } from '../../../src/containers/safetensors-read.js';
import { safetensorsBytes } from '../../../src/containers/safetensors-write.js';
import { bytesTensor } from '../../../src/tensor.js';
import { readSidecar, SIDECAR_KEY, type SidecarRecord, sidecarMetadata } from '../../../src/transforms/unfuse/sidecar.js';

const HASH = { sha256: 'ab'.repeat(32), bytes: 10 };
const RECORD: SidecarRecord = {
	kind: 'lorakit.unfuse',
	unfuse: 1,
	tool: 'lorakit',
	version: '1',
	base: 'file',
	adapters: [
		{
			name: 'a',
			scale: 0.5,
			components: { unet: 2 },
			blocks: null,
			layout: 'kohya',
			order: null,
			repair: false,
			main: { name: 'a.safetensors', bytes: 'adapter.0.main' },
			textEncoder: null,
			config: null,
		},
	],
	files: [
		{ path: 'b.safetensors', base: HASH, fused: HASH, header: 'header.0', tensors: [{ name: 'w', mode: 'delta', residual: 'residual.0' }] },
	],
};
const TENSORS = new Map(['adapter.0.main', 'header.0', 'residual.0'].map((name) => [name, bytesTensor('U8', [3], Uint8Array.of(1, 2, 3))]));

async function read(metadata: ReadonlyMap<string, string>, tensors = TENSORS): Promise<SidecarRecord> {
	const bytes = await safetensorsBytes(tensors, metadata);
	return readSidecar(await readSafetensors(bytesSource(bytes))).record;
}

/** The record with one place replaced. */
function changed(path: readonly (string | number)[], value: unknown): ReadonlyMap<string, string> {
	const copy: unknown = JSON.parse(JSON.stringify(RECORD));
	let at = copy as Record<string | number, unknown>;
	for (const key of path.slice(0, -1)) at = at[key] as Record<string | number, unknown>;
	at[path[path.length - 1] ?? ''] = value;
	return new Map([[SIDECAR_KEY, JSON.stringify(copy)]]);
}

describe('sidecar', () => {
	it('comes back as it was written', async () => {
		expect(await read(sidecarMetadata(RECORD))).toEqual(RECORD);
	});

	it.each([
		['another kind', ['kind'], 'x'],
		['another version', ['unfuse'], 2],
		['no list of files', ['files'], {}],
		['no file at all', ['files'], []],
		['one file twice', ['files'], [RECORD.files[0], RECORD.files[0]]],
		['no list of adapters', ['adapters'], null],
		['a base that is neither', ['base'], 'both'],
		['a scale that is no number', ['adapters', 0, 'scale'], '1'],
		['a strength that is no number', ['adapters', 0, 'components', '__proto__x'], []],
		['an order that is none', ['adapters', 0, 'order'], 'newest'],
		['a file without a path', ['files', 0, 'path'], 7],
		['a hash that is none', ['files', 0, 'base', 'sha256'], 'AB'.repeat(32)],
		['a negative size', ['files', 0, 'fused', 'bytes'], -1],
		['a size with a half', ['files', 0, 'base', 'bytes'], 1.5],
		['an unknown mode', ['files', 0, 'tensors', 0, 'mode'], 'guess'],
		['a residual that is no name', ['files', 0, 'tensors', 0, 'residual'], 3],
		['a tensor that is not there', ['files', 0, 'header'], 'header.1'],
		['a tensor twice', ['files', 0, 'tensors', 1], RECORD.files[0]?.tensors[0]],
	])('refuses %s', async (_what, path, value) => {
		await expect(read(changed(path, value))).rejects.toMatchObject({ code: 'E_SIDECAR' });
	});

	it('refuses a file without a record, with text for one, and tensors that are no bytes', async () => {
		await expect(read(new Map())).rejects.toMatchObject({ code: 'E_SIDECAR' });
		for (const text of ['', '{', '[]', 'null', '"x"', '{"__proto__": {"kind": "lorakit.unfuse"}}'])
			await expect(read(new Map([[SIDECAR_KEY, text]])), text).rejects.toMatchObject({ code: 'E_SIDECAR' });
		const wrong = new Map([...TENSORS, ['header.0', bytesTensor('F32', [1], new Uint8Array(4))] as const]);
		await expect(read(sidecarMetadata(RECORD), wrong)).rejects.toMatchObject({ code: 'E_SIDECAR' });
	});
});
