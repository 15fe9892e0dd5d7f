import { FormatError } from '@lorakit/format';
import { createFloat64Engine, type Engine } from '@lorakit/runtime';
import { createOnnxWebEngine, type OnnxWebDevice } from '../../src/engines/onnx/web.js';
import { failureOf } from './failure-of.js';
import type { DeviceChoice } from './messages.js';
import { tryEngine } from './try-engine.js';

/** Largest base that plain JavaScript is asked to run: a step of tiny-shapes (8.6 MB) takes it most of a second. */
const MAX_FLOAT64_BYTES = 32 * 1024 * 1024;
/** More threads wait for memory. */
const MAX_THREADS = 8;

export interface ChosenEngine {
	readonly engine: Engine;
	/** What a person should know of the choice. */
	readonly notes: readonly string[];
}

/**
 * ONNX Runtime on WebGPU where that works, else on WebAssembly; for very small bases plain JavaScript where not even that
 * does.
 * @param assets folder that ONNX Runtime's files are served from, ending in `/`
 * @param bytes of the base's files
 * @throws {FormatError} of the engine when nothing works, or not the device that was asked for.
 */
export async function chooseEngine(choice: DeviceChoice, assets: string, bytes: number): Promise<ChosenEngine> {
	const notes: string[] = [];
	if (choice === 'webgpu' || (choice === 'auto' && (await hasGpu()))) {
		try {
			return { engine: await openOnnx('webgpu', assets), notes };
		} catch (error) {
			if (choice === 'webgpu') throw error;
			notes.push(`${failureOf(error).message} WebAssembly computes instead.`);
		}
	}
	try {
		return { engine: await openOnnx('wasm', assets), notes };
	} catch (error) {
		if (bytes > MAX_FLOAT64_BYTES) throw error;
		const why = failureOf(error).message;
		return { engine: createFloat64Engine(), notes: [...notes, `Plain JavaScript computes, slowly: ${why}`] };
	}
}

/** An engine that has been tried: files that are missing, and devices that cannot run such models, are found out here. */
async function openOnnx(device: OnnxWebDevice, assets: string): Promise<Engine> {
	// Threads share memory, which only isolated pages may.
	const threads = globalThis.crossOriginIsolated ? Math.min(MAX_THREADS, navigator.hardwareConcurrency) : 1;
	try {
		const engine = await createOnnxWebEngine({ device, threads, wasmPaths: assets });
		await tryEngine(engine);
		return engine;
	} catch (cause) {
		throw new FormatError('E_DEVICE', `${NAMES[device]} does not work here (${failureOf(cause).message}); ${REMEDIES[device]}`, { cause });
	}
}

const NAMES: Readonly<Record<OnnxWebDevice, string>> = { wasm: 'WebAssembly', webgpu: 'WebGPU' };

const REMEDIES: Readonly<Record<OnnxWebDevice, string>> = {
	wasm: 'it needs a browser of the last years, and the folder ort/ of this page on its server.',
	webgpu: 'it needs a graphics card with its driver, and the folder ort/ of this page on its server.',
};

async function hasGpu(): Promise<boolean> {
	try {
		return (await navigator.gpu?.requestAdapter()) != null;
	} catch {
		return false;
	}
}
