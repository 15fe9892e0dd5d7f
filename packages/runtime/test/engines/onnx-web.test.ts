import { bytesTensor } from '@lorakit/format';
import { describe, expect, it } from 'vitest';
import { createFloat64Engine } from '../../src/engines/float64/index.js';
import { createOnnxWebEngine } from '../../src/engines/onnx/web.js';
import { createGraphBuilder } from '../../src/graph/index.js';
import { engineContract, memoryWeights, random, runOnce } from './engine-contract.js';

// As for onnx.test.ts: single precision.
engineContract('onnx-web wasm', () => createOnnxWebEngine({ threads: 1 }), { oracle: createFloat64Engine(), tolerance: 2e-6 });

describe('onnx-web', () => {
	it('keeps half-precision weights in memory as they are stored', async () => {
		const engine = await createOnnxWebEngine({ threads: 1 });
		for (const [dtype, codes, values] of [
			['F16', [0x3c00, 0xc000, 0x3555, 0x0001], [1, -2, 0.333251953125, 2 ** -24]],
			['BF16', [0x3f80, 0xc000, 0x3eab, 0x4049], [1, -2, 0.333984375, 3.140625]],
		] as const) {
			const b = createGraphBuilder();
			b.output('y', b.apply('add', [b.input('x', [4]), b.parameter('w', [4])], {}));
			const stored = bytesTensor(dtype, [2, 2], new Uint8Array(Uint16Array.from(codes).buffer));
			const { y } = await runOnce(
				engine,
				b.graph(),
				{ ...memoryWeights({}), stored: () => stored },
				{ x: { ...random([4], 1), data: new Float32Array(4) } },
			);
			expect([...(y?.data ?? [])]).toEqual(values);
		}
	});

	it('refuses weights that WebAssembly cannot hold, before reading any', async () => {
		const engine = await createOnnxWebEngine({ threads: 1 });
		const b = createGraphBuilder();
		b.output('y', b.apply('linear', [b.input('x', [1, 40_000]), b.parameter('w', [40_000, 40_000])], {}));
		await expect(engine.load(b.graph(), memoryWeights({}))).rejects.toMatchObject({
			code: 'E_LIMIT',
			message: expect.stringContaining('6.0 GiB'),
		});
	});

	it('says that there is no WebGPU', async () => {
		await expect(createOnnxWebEngine({ device: 'webgpu' })).rejects.toMatchObject({ name: 'FormatError', code: 'E_DEVICE' });
	});
});
