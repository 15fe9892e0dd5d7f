import { blobSource } from '@lorakit/format';
import { openBaseFiles } from '@lorakit/runtime';
import { createOnnxWebEngine } from '@lorakit/runtime/engines/onnx/web';
import * as tf from '@tensorflow/tfjs';
import { setWasmPaths } from '@tensorflow/tfjs-backend-wasm';
import { engineGradients } from '../../src/gradients/engine-gradients.js';
import type { GradientEngine, TrainingMemory } from '../../src/gradients/gradient-engine.js';
import { createTfjsGradientEngine } from '../../src/gradients/tfjs/index.js';
import { type ThreeSteps, threeSteps } from './three-steps.js';

/** What the test asks of the page. */
export interface Page {
	train(
		engine: 'onnx wasm' | 'onnx wasm fp16' | 'onnx webgpu' | 'onnx webgpu fp16' | 'tfjs wasm',
		memory: TrainingMemory,
	): Promise<ThreeSteps>;
	/** Features of its graphics card; none where there is no WebGPU. */
	webGpu(): Promise<readonly string[] | undefined>;
	/** Tensors that TensorFlow.js holds. */
	tensors(): number;
}

const page: Page = {
	async train(name, memory) {
		const paths = (await (await fetch('base.json')).json()) as readonly string[];
		const files = await Promise.all(
			paths.map(async (path) => [path, blobSource(await (await fetch(`base/${path}`)).blob(), path)] as const),
		);
		const base = await openBaseFiles(new Map(files));
		return await threeSteps(base, await engineOf(name), memory);
	},
	async webGpu() {
		const card = await navigator.gpu?.requestAdapter();
		return card ? [...card.features] : undefined;
	},
	tensors: () => tf.memory().numTensors,
};

async function engineOf(name: Parameters<Page['train']>[0]): Promise<GradientEngine> {
	if (name !== 'tfjs wasm') {
		const device = name.includes('wasm') ? 'wasm' : 'webgpu';
		const precision = name.includes('fp16') ? 'fp16' : 'fp32';
		return engineGradients(await createOnnxWebEngine({ device, precision, threads: 1, wasmPaths: new URL('ort/', location.href).href }));
	}
	setWasmPaths(new URL('tfjs/', location.href).href);
	return await createTfjsGradientEngine({ tf, backend: 'wasm' });
}

Object.assign(globalThis, { page });
