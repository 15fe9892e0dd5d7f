import { FormatError } from '@lorakit/format';
import type { Engine } from '@lorakit/runtime';
import type { createTfjsEngine } from '@lorakit/runtime/engines/tfjs';

/** Engines of `--engine`, the default first. */
export const ENGINES = ['onnx', 'tfjs', 'float64'] as const;
export type EngineName = (typeof ENGINES)[number];

/** Devices of `--device`: all that any engine may have. */
export const DEVICES = ['cpu', 'cuda', 'webgpu', 'dml', 'coreml', 'wasm'] as const;
export type DeviceName = (typeof DEVICES)[number];

/** `--precision`, the default first: all in float32, or products in float16. */
export const PRECISIONS = ['fp32', 'fp16'] as const;
export type PrecisionName = (typeof PRECISIONS)[number];

export interface EngineChoice {
	readonly engine: EngineName;
	/** undefined: `cpu`; for tfjs the best that works. */
	readonly device: DeviceName | undefined;
	/** Of the CPU, where the engine lets itself be told. */
	readonly threads: number;
	/** float16 is ONNX Runtime's alone. */
	readonly precision: PrecisionName;
}

/** @throws {FormatError} `E_DEVICE` when the engine is not installed or its device does not work: why, and what to do; `E_USAGE` for a device or a precision that it never has. */
export async function openEngine({ engine, device, threads, precision }: EngineChoice): Promise<Engine> {
	if (precision !== 'fp32' && engine !== 'onnx') {
		throw new FormatError('E_USAGE', `The engine ${engine} does not compute in ${precision}; the engine onnx does.`);
	}
	switch (engine) {
		case 'onnx': {
			if (device === 'wasm') throw noDevice(engine, device, 'cpu, cuda, webgpu, dml and coreml');
			const { createOnnxEngine } = await import('@lorakit/runtime/engines/onnx');
			return createOnnxEngine({ device, threads, precision });
		}
		case 'tfjs': {
			if (device === 'dml' || device === 'coreml') throw noDevice(engine, device, 'cpu, cuda, webgpu and wasm');
			const { createTfjsEngine } = await import('@lorakit/runtime/engines/tfjs');
			if (device === 'webgpu' || device === 'wasm') return createTfjsEngine({ backend: device });
			if (device === undefined) return createTfjsEngine();
			return openTensorflow(createTfjsEngine, device);
		}
		case 'float64': {
			if (device !== undefined && device !== 'cpu') throw noDevice(engine, device, 'the CPU alone');
			const { createFloat64Engine } = await import('@lorakit/runtime');
			return createFloat64Engine();
		}
	}
}

/** The TensorFlow library, on its card or on the CPU; there plain JavaScript stands in where it is not installed. */
async function openTensorflow(create: typeof createTfjsEngine, device: 'cpu' | 'cuda'): Promise<Engine> {
	let found: Engine;
	try {
		found = await create({ backend: 'tensorflow' });
	} catch (error) {
		if (device === 'cuda') throw error;
		return create({ backend: 'cpu' });
	}
	if (device !== 'cuda' || found.device === 'cuda') return found;
	throw new FormatError(
		'E_DEVICE',
		"TensorFlow is here, but uses no graphics card; install @tensorflow/tfjs-node-gpu with CUDA's libraries (docs/engines.md), or leave --device out.",
	);
}

function noDevice(engine: EngineName, device: DeviceName, has: string): FormatError {
	return new FormatError('E_USAGE', `The engine ${engine} does not compute on ${device}; it has ${has}.`);
}
