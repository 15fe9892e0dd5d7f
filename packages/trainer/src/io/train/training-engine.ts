import os from 'node:os';
import { FormatError, quote } from '@lorakit/format';
import type { Engine } from '@lorakit/runtime';
import { engineGradients } from '../../gradients/engine-gradients.js';
import type { GradientEngine } from '../../gradients/gradient-engine.js';
import type { EngineConfig } from '../../run/config/run-config.js';

/** What computes a training. */
export interface TrainingEngine {
	/** Pictures, latents, texts: always in float32. */
	readonly engine: Engine;
	readonly gradients: GradientEngine;
	readonly threads: number;
}

const ONNX_DEVICES = ['cpu', 'cuda', 'webgpu', 'dml', 'coreml'] as const;
const TFJS_DEVICES = ['cpu', 'cuda', 'webgpu', 'wasm'] as const;

/**
 * Load the engine of a configuration.
 * @param note told what people should know of it
 * @throws {FormatError} `E_USAGE`, `E_DEVICE` when it is not installed, has not the device, or the device has no float16 that is asked for;
 *   `E_CONFIG` for mixed precision by an engine that differentiates in one precision alone
 */
export async function openTrainingEngine(config: EngineConfig, note?: (text: string) => void): Promise<TrainingEngine> {
	const threads = config.threads ?? os.availableParallelism();
	const half = config.mixed_precision === 'fp16';
	if (half && config.engine !== 'onnx') {
		throw new FormatError(
			'E_CONFIG',
			`engine.mixed_precision is fp16, but the engine ${config.engine} has float32 alone; take the engine onnx, or "no" (and engine.memory lean for less memory).`,
			{ at: 'engine.mixed_precision' },
		);
	}
	switch (config.engine) {
		case 'onnx': {
			const { createOnnxEngine } = await import('@lorakit/runtime/engines/onnx');
			const device = deviceOf(config, ONNX_DEVICES);
			const engine = await createOnnxEngine({ device, threads });
			if (half && engine.device === 'cpu') {
				note?.('the cpu has no float16 of its own: values are rounded to it and computed in float32, which takes longer');
			}
			const differentiating = half ? await createOnnxEngine({ device, threads, precision: 'fp16' }) : engine;
			return { engine, gradients: engineGradients(differentiating), threads };
		}
		case 'tfjs': {
			const device = deviceOf(config, TFJS_DEVICES);
			// The TensorFlow library is the backend of the CPU and of the card.
			const backend = device === 'cpu' || device === 'cuda' ? 'tensorflow' : device;
			const { createTfjsEngine } = await import('@lorakit/runtime/engines/tfjs');
			const { createTfjsGradientEngine } = await import('../../gradients/tfjs/index.js');
			const engine = await createTfjsEngine({ backend });
			return { engine, gradients: await createTfjsGradientEngine({ backend: engine.backend }), threads };
		}
		case 'float64': {
			deviceOf(config, ['cpu']);
			const { createFloat64Engine } = await import('@lorakit/runtime');
			const engine = createFloat64Engine();
			return { engine, gradients: engineGradients(engine), threads: 1 };
		}
	}
}

function deviceOf<T extends string>({ engine, device }: EngineConfig, known: readonly T[]): T | undefined {
	if (device === null) return undefined;
	const found = known.find((name) => name === device);
	if (found !== undefined) return found;
	throw new FormatError('E_CONFIG', `engine.device is ${quote(device)}, but ${engine} computes on ${known.join(', ')}.`, {
		at: 'engine.device',
	});
}
