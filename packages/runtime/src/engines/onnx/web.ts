import { FormatError } from '@lorakit/format';
import type { CompositeName, Graph } from '../../graph/index.js';
import { countOf } from '../../host-tensor.js';
import type { Engine } from '../engine.js';
import { loadSession } from './load-session.js';
import { neverEmptyRuns } from './never-empty-runs.js';
import type { Ort } from './onnx-session.js';
import type { Precision } from './precision.js';
import { kernelsThatWork } from './probe-attention.js';

export type OnnxWebDevice = 'wasm' | 'webgpu';

export interface OnnxWebEngineOptions {
	/** Default: `wasm`. */
	readonly device?: OnnxWebDevice | undefined;
	/** Threads of WebAssembly; more than 1 needs a page that is cross-origin isolated. Default: onnxruntime-web's own. */
	readonly threads?: number | undefined;
	/** As of `OnnxEngineOptions`; the graphics card and browser must have WebGPU's `shader-f16`. Default: `fp32`. */
	readonly precision?: Precision | undefined;
	/** Folder (with `/` at the end) of onnxruntime-web's .wasm and .mjs files; default: beside its script. */
	readonly wasmPaths?: string | undefined;
}

interface OrtWeb extends Ort {
	readonly env: { readonly wasm: { numThreads?: number | undefined; wasmPaths?: unknown } };
}

/** What WebAssembly's 32-bit addresses reach, less what a run needs. */
const WASM_WEIGHTS = 3.5 * 2 ** 30;

/**
 * ONNX Runtime by `onnxruntime-web`, which is loaded here and not before. Weights are read into memory in the type
 * they are stored in, one tensor at a time, from wherever the base was opened (a picked folder, a URL).
 *
 * @throws {FormatError} `E_DEVICE` when `onnxruntime-web` cannot be loaded or the browser has no WebGPU, or no float16 in it; `load`:
 * `E_LIMIT` when the weights do not fit in WebAssembly's 4 GiB.
 */
export async function createOnnxWebEngine({
	device = 'wasm',
	threads,
	precision = 'fp32',
	wasmPaths,
}: OnnxWebEngineOptions = {}): Promise<Engine> {
	if (device === 'webgpu') await checkWebGpu(precision);
	const ort = await importOrt(device);
	if (threads !== undefined) ort.env.wasm.numThreads = threads;
	if (wasmPaths !== undefined) ort.env.wasm.wasmPaths = wasmPaths;
	let kernels: ReadonlySet<CompositeName> | undefined;
	const engine: Engine = {
		id: 'onnx-web',
		device,
		async load(graph, parameters, options) {
			if (device === 'wasm') checkSize(graph);
			const session = await loadSession(
				ort,
				graph,
				parameters,
				() => undefined,
				({ half }) => ({
					executionProviders: [device],
					graphOptimizationLevel: half ? 'extended' : 'all',
					enableMemPattern: false,
					logSeverityLevel: 4,
				}),
				options,
				{ kernels, precision: options?.upcast === true ? 'fp32' : precision },
			);
			return device === 'webgpu' ? neverEmptyRuns(session) : session;
		},
	};
	if (device === 'webgpu') kernels = await kernelsThatWork(engine.load, precision);
	return engine;
}

async function importOrt(device: OnnxWebDevice): Promise<OrtWeb> {
	try {
		return (await (device === 'webgpu' ? import('onnxruntime-web/webgpu') : import('onnxruntime-web'))) as unknown as OrtWeb;
	} catch (cause) {
		throw new FormatError(
			'E_DEVICE',
			'onnxruntime-web cannot be loaded; install it with "npm install onnxruntime-web@1.30.0", or choose another engine.',
			{ cause },
		);
	}
}

/** What of WebGPU's API we ask. */
interface Gpu {
	requestAdapter(): Promise<{ readonly features: ReadonlySet<string> } | null>;
}

async function checkWebGpu(precision: Precision): Promise<void> {
	const gpu = (globalThis.navigator as { readonly gpu?: Gpu } | undefined)?.gpu;
	const card = (await gpu?.requestAdapter().catch(() => null)) ?? null;
	if (card === null) {
		throw new FormatError('E_DEVICE', 'This browser has no WebGPU, or no graphics card that it may use; choose the device wasm.');
	}
	if (precision === 'fp16' && !card.features.has('shader-f16')) {
		throw new FormatError(
			'E_DEVICE',
			'The graphics card, or this browser, has no float16 in WebGPU (shader-f16); choose the precision fp32.',
		);
	}
}

function checkSize(graph: Graph): void {
	const bytes = graph.parameters.reduce((sum, { value }) => sum + 4 * countOf((graph.values[value]?.shape ?? []).map(Number)), 0);
	if (bytes <= WASM_WEIGHTS) return;
	const gib = (n: number) => (n / 2 ** 30).toFixed(1);
	throw new FormatError(
		'E_LIMIT',
		`The model's weights are ${gib(bytes)} GiB in single precision; WebAssembly holds ${gib(WASM_WEIGHTS)}. Use the device webgpu, or Node.`,
	);
}
