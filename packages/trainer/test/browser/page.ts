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
	train(engine: 'onnx wasm' | 'onnx webgpu' | 'tfjs wasm', memory: TrainingMemory): Promise<ThreeSteps>;
	hasWebGpu(): Promise<boolean>;
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
	async hasWebGpu() {
		return ((await navigator.gpu?.requestAdapter()) ?? null) !== null;
	},
	tensors: () => tf.memory().numTensors,
};

async function engineOf(name: Parameters<Page['train']>[0]): Promise<GradientEngine> {
	if (name !== 'tfjs wasm') {
		const device = name === 'onnx wasm' ? 'wasm' : 'webgpu';
		return engineGradients(await createOnnxWebEngine({ device, threads: 1, wasmPaths: new URL('ort/', location.href).href }));
	}
	setWasmPaths(new URL('tfjs/', location.href).href);
	return await createTfjsGradientEngine({ tf, backend: 'wasm' });
}

Object.assign(globalThis, { page });
