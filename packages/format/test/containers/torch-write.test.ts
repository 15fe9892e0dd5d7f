import { Uint8ArrayReader, Uint8ArrayWriter, ZipReader } from '@zip.js/zip.js';
import { describe, expect, it } from 'vitest';
import { bytesSource } from '../../src/byte-source.js';
import { planTorchZip } from '../../src/containers/torch-write.js';
import { readTorchZip } from '../../src/containers/torch-zip.js';
import { openZip } from '../../src/containers/zip-read.js';
import { byteLength, DTYPES, type DType } from '../../src/dtype.js';
import { bytesTensor, type Tensor } from '../../src/tensor.js';
import { uni } from './pickle-bytes.js';

async function bytesOf(plan: {
	readonly totalBytes: number;
	write(sink: { write(b: Uint8Array): void }): Promise<void>;
}): Promise<Uint8Array> {
	const out = new Uint8Array(plan.totalBytes);
	let at = 0;
	await plan.write({
		write(part) {
			out.set(part, at);
			at += part.byteLength;
		},
	});
	expect(at).toBe(plan.totalBytes);
	return out;
}

function tensor(dtype: DType, shape: readonly number[]): Tensor {
	const bytes = new Uint8Array(byteLength(dtype, shape) ?? 0).map((_, k) => (dtype === 'BOOL' ? k % 2 : (k * 37 + 11) % 256));
	return bytesTensor(dtype, shape, bytes);
}

describe('planTorchZip', () => {
	const held = DTYPES.filter((d) => !d.startsWith('F6_'));

	it.each(held)('%s comes back bit for bit', async (dtype) => {
		const shapes = dtype === 'F4' ? [[4, 6], [2]] : [[], [0], [3, 0, 2], [7], [2, 3], [1, 2, 3, 4, 5]];
		const tensors = new Map(shapes.map((shape) => [`x.${shape.join('_')}`, tensor(dtype, shape)]));
		const back = await readTorchZip(bytesSource(await bytesOf(planTorchZip(tensors, { top: 'dict' }))));
		expect([...back.tensors.keys()]).toEqual([...tensors.keys()]);
		expect([back.top, back.wrapper, back.warnings]).toEqual(['dict', undefined, []]);
		for (const [name, want] of tensors) {
			const got = back.tensors.get(name);
			expect([got?.dtype, got?.shape, await got?.read()]).toEqual([want.dtype, want.shape, await want.read()]);
		}
	});

	it('writes a list', async () => {
		const tensors = new Map([0, 1, 2].map((k) => [String(k), tensor('F16', [k + 1])]));
		const back = await readTorchZip(bytesSource(await bytesOf(planTorchZip(tensors, { top: 'list' }))));
		expect([back.top, [...back.tensors.keys()]]).toEqual(['list', ['0', '1', '2']]);
	});

	it('writes the pickle that these opcodes spell', async () => {
		const tensors = new Map([['a', tensor('F32', [2, 3])]]);
		const bytes = await bytesOf(planTorchZip(tensors, { top: 'dict', rootName: 'my lora' }));
		const zip = await openZip(bytesSource(bytes));
		const pickle = zip.entries.get('my_lora/data.pkl');
		const text = pickle === undefined ? '' : Buffer.from(await zip.read(pickle, 1000)).toString('latin1');
		const global = (name: string, slot: number): string => `c${name}\nq${String.fromCharCode(slot)}`;
		const uniText = (value: string): string => Buffer.from(uni(value)).toString('latin1');
		expect(text).toBe(
			`\x80\x02${global('collections\nOrderedDict', 0)})R(${uniText('a')}${global('torch._utils\n_rebuild_tensor_v2', 1)}((` +
				`${uniText('storage')}q\x02${global('torch\nFloatStorage', 3)}${uniText('0')}${uniText('cpu')}q\x04K\x06tQK\x00K\x02K\x03\x86K\x03K\x01\x86\x89h\x00)RtRu.`,
		);
	});

	it('aligns data to 64 bytes and reads in zip.js at its strictest', async () => {
		const tensors = new Map([
			['a', tensor('F32', [3])],
			['b', tensor('U8', [1])],
			['c', tensor('F16', [5, 5])],
		]);
		const bytes = await bytesOf(planTorchZip(tensors, { top: 'dict' }));
		const zip = await openZip(bytesSource(bytes));
		for (const entry of zip.entries.values()) expect((await zip.locate(entry)).offset % 64).toBe(0);
		expect([...zip.entries.keys()]).toEqual([
			'archive/data.pkl',
			'archive/byteorder',
			'archive/data/0',
			'archive/data/1',
			'archive/data/2',
			'archive/version',
		]);
		const reader = new ZipReader(new Uint8ArrayReader(bytes), {
			checkSignature: true,
			checkOverlappingEntry: true,
			strictness: 'strict',
			useWebWorkers: false,
		});
		for (const entry of await reader.getEntries()) {
			const ours = zip.entries.get(entry.filename);
			if (entry.directory || ours === undefined) throw new Error(entry.filename);
			expect(await entry.getData(new Uint8ArrayWriter())).toEqual(await zip.read(ours, 1e6));
		}
	});

	it('gives the same bytes for the same tensors', async () => {
		const make = (): Promise<Uint8Array> => bytesOf(planTorchZip(new Map([['a', tensor('BF16', [4])]]), { top: 'dict' }));
		expect(await make()).toEqual(await make());
	});

	it.each([
		[
			'F6_E2M3',
			tensor('F6_E2M3', [4]),
			'Tensor "x" has dtype F6_E2M3 and shape (4), which torch cannot hold; write a .safetensors file or pass --dtype.',
		],
		[
			'F4 of odd length',
			bytesTensor('F4', [2, 3], new Uint8Array(3)),
			'Tensor "x" has dtype F4 and shape (2, 3), which torch cannot hold; write a .safetensors file or pass --dtype.',
		],
	])('refuses %s', (_, value, message) => {
		expect(() => planTorchZip(new Map([['x', value]]), { top: 'dict' })).toThrow(message);
	});

	it('refuses list names that are no indices, and names that are no Unicode', () => {
		expect(() => planTorchZip(new Map([['1', tensor('U8', [1])]]), { top: 'list' })).toThrow('tensor 0 is named "1"');
		expect(() => planTorchZip(new Map([['a\ud800', tensor('U8', [1])]]), { top: 'dict' })).toThrow('no valid Unicode');
	});
});
