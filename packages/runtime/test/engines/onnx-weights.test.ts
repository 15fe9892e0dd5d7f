import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { bytesTensor, type DType, rangeTensor, type Tensor } from '@lorakit/format';
import { type FileSource, openFileSource } from '@lorakit/format/node';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import type { Engine, ParameterSource } from '../../src/engines/engine.js';
import { createOnnxEngine } from '../../src/engines/onnx/index.js';
import { ortError } from '../../src/engines/onnx/ort-error.js';
import { createGraphBuilder, type Graph } from '../../src/graph/index.js';
import type { HostTensor } from '../../src/host-tensor.js';
import { memoryWeights, runOnce } from './engine-contract.js';

let folder: string;
let engine: Engine;
beforeAll(async () => {
	folder = fs.mkdtempSync(path.join(os.tmpdir(), 'onnx weights é '));
	engine = await createOnnxEngine();
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** y = x + w, with x = 0. */
function plusWeight(shape: readonly number[] = [2, 2]): { graph: Graph; feeds: Record<string, HostTensor> } {
	const b = createGraphBuilder();
	b.output('y', b.apply('add', [b.input('x', [2, 2]), b.parameter('w', shape)], {}));
	return { graph: b.graph(), feeds: { x: { dtype: 'f32', shape: [2, 2], data: new Float32Array(4) } } };
}

/** Reading by the engine is a failure: it is ONNX Runtime that has to read. */
function storedOnly(tensor: Tensor): ParameterSource {
	return {
		stored: () => ({ ...tensor, read: () => Promise.reject(new Error('read')) }),
		read: () => Promise.reject(new Error('read')),
	};
}

async function opened(name: string, bytes: Uint8Array): Promise<FileSource> {
	fs.writeFileSync(path.join(folder, name), bytes);
	return await openFileSource(path.join(folder, name));
}

/** Codes and what they are, by the definition of each format. */
const STORED: readonly (readonly [DType, Uint8Array, readonly number[]])[] = [
	['F32', new Uint8Array(Float32Array.of(1, -2, 0.1, 3e-39).buffer), [1, -2, Math.fround(0.1), Math.fround(3e-39)]],
	['F16', new Uint8Array(Uint16Array.of(0x3c00, 0xc000, 0x3555, 0x0001).buffer), [1, -2, 0.333251953125, 2 ** -24]],
	['BF16', new Uint8Array(Uint16Array.of(0x3f80, 0xc000, 0x3eab, 0x4049).buffer), [1, -2, 0.333984375, 3.140625]],
];

describe('weights of the ONNX engine', () => {
	describe.each(STORED)('%s', (dtype, bytes, values) => {
		const { graph, feeds } = plusWeight();

		it('are read from the file by ONNX Runtime', async () => {
			const source = await opened(`${dtype}.bin`, Buffer.concat([new Uint8Array(24), bytes, new Uint8Array(8)]));
			const { y } = await runOnce(engine, graph, storedOnly(rangeTensor(dtype, [4, 1], source, 24)), feeds);
			expect([...(y?.data ?? [])]).toEqual(values);
			await source.close();
		});

		it('are found through a link, as in the cache of the Hub', async () => {
			const source = await opened(`${dtype}-blob`, bytes);
			fs.mkdirSync(path.join(folder, `snapshot-${dtype}`));
			const link = path.join(folder, `snapshot-${dtype}`, 'model.safetensors');
			fs.symlinkSync(path.join('..', `${dtype}-blob`), link);
			const linked = await openFileSource(link);
			const { y } = await runOnce(engine, graph, storedOnly(rangeTensor(dtype, [4], linked, 0)), feeds);
			expect([...(y?.data ?? [])]).toEqual(values);
			await source.close();
			await linked.close();
		});

		it.each([
			['in memory', async () => bytesTensor(dtype, [4], bytes)],
			[
				'not on a whole element',
				async () => rangeTensor(dtype, [4], await opened(`${dtype}-odd`, Buffer.concat([new Uint8Array(3), bytes])), 3),
			],
			[
				'of a file whose name is gone',
				async () => {
					const source = await opened(`${dtype}-gone`, bytes);
					fs.rmSync(path.join(folder, `${dtype}-gone`));
					return rangeTensor(dtype, [4], source, 0);
				},
			],
		])('%s are read first', async (_, tensor) => {
			const stored = await tensor();
			const { y } = await runOnce(engine, graph, { ...memoryWeights({}), stored: () => stored }, feeds);
			expect([...(y?.data ?? [])]).toEqual(values);
		});
	});

	it('may lie in files and in memory at once', async () => {
		const b = createGraphBuilder();
		const sum = b.apply('add', [b.parameter('file', [2]), b.parameter('memory', [2])], {});
		b.output('y', b.apply('add', [sum, b.input('x', [2])], {}));
		const source = await opened('some.bin', new Uint8Array(Float32Array.of(1, 2).buffer));
		const stored = rangeTensor('F32', [2], source, 0);
		const weights = memoryWeights({ memory: { dtype: 'f32', shape: [2], data: Float32Array.of(10, 20) } });
		const progress: [number, number][] = [];
		const session = await engine.load(
			b.graph(),
			{ ...weights, stored: (name) => (name === 'file' ? stored : undefined) },
			{ onProgress: (done, total) => progress.push([done, total]) },
		);
		const { y } = await session.run({ x: { dtype: 'f32', shape: [2], data: Float32Array.of(100, 200) } });
		expect([...(y?.data ?? [])]).toEqual([111, 222]);
		expect(progress).toEqual([
			[0, 16],
			[8, 16],
			[16, 16],
		]);
		await session.close();
		await source.close();
	});

	it('refuses a file that is not what was opened', async () => {
		const { graph } = plusWeight();
		const source = await opened('changed.bin', new Uint8Array(16));
		const tensor = rangeTensor('F32', [4], source, 0);
		fs.truncateSync(path.join(folder, 'changed.bin'), 8);
		await expect(engine.load(graph, storedOnly(tensor))).rejects.toMatchObject({ name: 'FormatError', code: 'E_INPUT_CHANGED' });
		await source.close();
	});

	it('refuses weights of another count or kind', async () => {
		const { graph } = plusWeight([2, 1]);
		const of = (dtype: DType, count: number, nbytes: number) => storedOnly(bytesTensor(dtype, [count], new Uint8Array(nbytes)));
		await expect(engine.load(graph, of('F32', 4, 16))).rejects.toMatchObject({ code: 'E_SHAPE', at: 'w' });
		await expect(engine.load(graph, of('I64', 2, 16))).rejects.toMatchObject({ code: 'E_DTYPE', at: 'w' });
		const short = memoryWeights({ w: { dtype: 'f32', shape: [3], data: new Float32Array(3) } });
		await expect(engine.load(graph, short)).rejects.toMatchObject({ code: 'E_SHAPE', at: 'w' });
	});

	it('stops when it is told to', async () => {
		const { graph } = plusWeight();
		await expect(engine.load(graph, memoryWeights({}), { signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'E_INTERRUPTED' });
	});
});

describe('errors of the ONNX engine', () => {
	it('name the part of the model in which ONNX Runtime failed', async () => {
		const b = createGraphBuilder();
		const ids = b.input('ids', [1], 'i32');
		b.output(
			'y',
			b.scope('text_encoder.embeddings', () => b.apply('gather', [b.input('table', [3, 2]), ids], {})),
		);
		const session = await engine.load(b.graph(), memoryWeights({}));
		const run = session.run({
			ids: { dtype: 'i32', shape: [1], data: Int32Array.of(7) },
			table: { dtype: 'f32', shape: [3, 2], data: new Float32Array(6) },
		});
		await expect(run).rejects.toMatchObject({ name: 'FormatError', code: 'E_INTERNAL', at: 'text_encoder.embeddings' });
		await session.close();
		await expect(session.run({})).rejects.toMatchObject({ code: 'E_USAGE' });
	});

	it.each([
		'std::bad_alloc',
		"Non-zero status code returned while running Conv node. Name:'unet.conv_in#3' Status Message: bfc_arena.cc:359 Failed to allocate memory for requested buffer of size 17179869184",
	])('say that memory ran out: %s', (message) => {
		const error = ortError(new Error(message), 'computing');
		expect(error.code).toBe('E_LIMIT');
		if (message.includes('Conv')) expect(error.at).toBe('unet.conv_in');
	});

	it('say when memory ran out in earnest', async () => {
		const b = createGraphBuilder();
		const x = b.input('x', [1, 1]);
		b.output('y', b.apply('sum', [b.apply('exp', [b.apply('broadcast', [x], { shape: [2 ** 24, 2 ** 24] })], {})], { axes: [0, 1] }));
		const session = await engine.load(b.graph(), memoryWeights({}));
		const run = session.run({ x: { dtype: 'f32', shape: [1, 1], data: Float32Array.of(1) } });
		await expect(run).rejects.toMatchObject({ name: 'FormatError', code: 'E_LIMIT' });
		await session.close();
	});

	it('name a device that is not there, and why', async () => {
		const missing = process.platform === 'win32' ? 'coreml' : 'dml';
		await expect(createOnnxEngine({ device: missing })).rejects.toMatchObject({
			code: 'E_DEVICE',
			message: expect.stringMatching(new RegExp(`${missing}.*cpu`)),
		});
	});

	it('either compute on WebGPU or say why not', async () => {
		const { graph, feeds } = plusWeight();
		const weights = memoryWeights({ w: { dtype: 'f32', shape: [2, 2], data: Float32Array.of(1, 2, 3, 4) } });
		const made = await createOnnxEngine({ device: 'webgpu' }).catch((error: unknown) => error);
		if (made instanceof Error)
			expect(made).toMatchObject({ name: 'FormatError', code: 'E_DEVICE', message: expect.stringContaining('webgpu') });
		else expect((await runOnce(made as Engine, graph, weights, feeds))['y']?.data).toEqual(Float32Array.of(1, 2, 3, 4));
	});
});
