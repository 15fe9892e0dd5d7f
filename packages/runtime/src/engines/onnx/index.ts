import os from 'node:os';
import path from 'node:path';
import { FormatError } from '@lorakit/format';
import type { Env, InferenceSession } from 'onnxruntime-common';
import type { CompositeName } from '../../graph/index.js';
import type { Engine } from '../engine.js';
import { encodeModel } from './encode-model.js';
import { createFileLocator } from './file-location.js';
import { loadSession } from './load-session.js';
import { NEEDLESS_OPTIMIZERS } from './needless-optimizers.js';
import { neverEmptyRuns } from './never-empty-runs.js';
import { ONNX_DTYPES, type OnnxModel } from './onnx-model.js';
import type { Ort } from './onnx-session.js';
import type { Precision } from './precision.js';
import { kernelsThatWork } from './probe-attention.js';

/** Where ONNX Runtime can compute; each needs a build of it, and drivers, that have it. */
export type OnnxDevice = 'cpu' | 'cuda' | 'webgpu' | 'dml' | 'coreml';

export interface OnnxEngineOptions {
	/** Default: `cpu`. */
	readonly device?: OnnxDevice | undefined;
	/** Threads on the CPU; default: as many as the process may use cores. */
	readonly threads?: number | undefined;
	/**
	 * `fp16`: products in float16, norms, softmax and sums in float32 (as torch's autocast). It is for devices that have it: on the CPU
	 * ONNX Runtime rounds to float16 and computes in float32, which is slower than float32 alone, but holds float16 weights as they are. Default: `fp32`.
	 */
	readonly precision?: Precision | undefined;
}

type OrtNode = Ort & {
	readonly env: { logLevel?: Env['logLevel'] };
	readonly listSupportedBackends: () => Promise<readonly { readonly name: string }[]> | readonly { readonly name: string }[];
};

/**
 * ONNX Runtime by `onnxruntime-node`, which is loaded here and not before.
 *
 * Weights in local files are read by ONNX Runtime itself: the model is bytes in memory whose tensors name ranges of
 * the safetensors file. Nothing is written. Weights in half precision are widened once, by ONNX Runtime, and it keeps
 * no second copy. (`all` rearranges convolution weights in blocks, which makes a step 9 % faster; of weights in a
 * file it needs no second copy for that, of widened ones it does, 2.3 GB for Stable Diffusion 1.5: not for these.)
 *
 * @throws {FormatError} `E_DEVICE` when `onnxruntime-node` is not installed, or has not that device, or the device
 * does not work here: the message says which and what to do.
 */
export async function createOnnxEngine({
	device = 'cpu',
	threads = os.availableParallelism(),
	precision = 'fp32',
}: OnnxEngineOptions = {}): Promise<Engine> {
	const ort = await importOrt();
	const root = path.parse(process.cwd()).root;
	const session = {
		// The folder that tensors' locations are relative to; the default for a model in memory is the current one.
		model_external_initializers_file_folder_path: root,
		// Threads that spin while they wait make each other slow on a busy machine.
		intra_op: { allow_spinning: '0' },
	};
	const optimization = { disable_specified_optimizers: NEEDLESS_OPTIMIZERS.join(';') };
	const sessionOptions: InferenceSession.SessionOptions = {
		executionProviders: [device],
		intraOpNumThreads: threads,
		// Plans all memory of a run as one block: 600 MB more for Stable Diffusion 1.5 at 512 px.
		enableMemPattern: false,
		// Errors are thrown; nothing but this project writes to the terminal.
		logSeverityLevel: 4,
		extra: { session, optimization },
	};
	const compactOptions: InferenceSession.SessionOptions = {
		...sessionOptions,
		graphOptimizationLevel: 'extended',
		extra: { session: { ...session, disable_prepacking: '1' }, optimization },
	};
	if (device !== 'cpu') await tryDevice(ort, device, sessionOptions, precision);
	let kernels: ReadonlySet<CompositeName> | undefined;
	const engine: Engine = {
		id: 'onnx',
		device,
		async load(graph, parameters, options) {
			const own = options?.upcast === true ? 'fp32' : precision;
			const session = await loadSession(
				ort,
				graph,
				parameters,
				createFileLocator(root),
				({ half }) =>
					options?.compact === true ? compactOptions : { ...sessionOptions, graphOptimizationLevel: half ? 'extended' : 'all' },
				options,
				{ kernels, precision: own, maps: device === 'cpu' && own === 'fp32' },
			);
			return device === 'webgpu' ? neverEmptyRuns(session) : session;
		},
	};
	if (device === 'webgpu') kernels = await kernelsThatWork(engine.load, precision);
	return engine;
}

/**
 * ONNX Runtime 1.30 records what it runs, the command line with its prompts included, under `~/.cache/Microsoft`, and sends it to
 * its maker (onnxruntime/core/platform/posix/telemetry.cc); a command line of some 40,000 characters makes it crash there. It looks
 * at this variable when it is loaded. Whoever wants it sets the variable.
 */
const TELEMETRY = 'ORT_DISABLE_TELEMETRY';

async function importOrt(): Promise<OrtNode> {
	process.env[TELEMETRY] ??= '1';
	try {
		const module = (await import('onnxruntime-node')) as unknown as OrtNode & { readonly default?: OrtNode };
		const ort = module.default ?? module;
		// A device that is not there it throws and writes to the terminal, whatever the session says. Another level is somebody's wish.
		if (ort.env.logLevel === 'warning') ort.env.logLevel = 'fatal';
		return ort;
	} catch (cause) {
		throw new FormatError(
			'E_DEVICE',
			'onnxruntime-node cannot be loaded; install it with "npm install onnxruntime-node@1.30.0" (without internet, by an npm that runs install scripts: set ONNXRUNTIME_NODE_INSTALL=skip), or choose another engine.',
			{ cause },
		);
	}
}

/** One sum on the device, in the type that it is to compute in. */
async function tryDevice(
	ort: OrtNode,
	device: OnnxDevice,
	sessionOptions: InferenceSession.SessionOptions,
	precision: Precision,
): Promise<void> {
	const backends = (await ort.listSupportedBackends()).map(({ name }) => name);
	if (!backends.includes(device)) {
		throw new FormatError(
			'E_DEVICE',
			`This build of onnxruntime-node has no device ${device} for ${process.platform} ${process.arch}; it has ${backends.join(', ')}. Choose one of these.`,
		);
	}
	try {
		const model = encodeModel(doubling(precision));
		const session = await ort.InferenceSession.create(model, sessionOptions);
		const { y } = await session.run({ x: new ort.Tensor('float32', Float32Array.of(1), [1]) }).finally(() => session.release());
		if (y?.data[0] !== 2) throw new Error(`1 + 1 gave ${y?.data[0]}`);
	} catch (cause) {
		const [why = ''] = (cause instanceof Error ? cause.message : String(cause)).split('\n', 1);
		const what = precision === 'fp16' ? ` in ${precision}` : '';
		throw new FormatError('E_DEVICE', `The device ${device} does not work here${what}: ${why}. ${REMEDIES[device]}`, { cause });
	}
}

/** x + x. */
function doubling(precision: Precision): OnnxModel {
	const info = (name: string) => ({ name, dtype: 'float32', shape: [1] }) as const;
	const node = (opType: string, inputs: readonly string[], output: string, to?: number): OnnxModel['nodes'][number] => ({
		...{ name: opType, opType, domain: '', inputs, output },
		attributes: to === undefined ? {} : { to: { int: to } },
	});
	const nodes =
		precision === 'fp32'
			? [node('Add', ['x', 'x'], 'y')]
			: [
					node('Cast', ['x'], 'half', ONNX_DTYPES.float16),
					node('Add', ['half', 'half'], 'sum'),
					node('Cast', ['sum'], 'y', ONNX_DTYPES.float32),
				];
	return { inputs: [info('x')], outputs: [info('y')], initializers: [], nodes, values: [] };
}

const REMEDIES: Readonly<Record<OnnxDevice, string>> = {
	cpu: '',
	cuda: 'It needs an NVIDIA driver, CUDA 12 and cuDNN 9, and the provider that "node node_modules/onnxruntime-node/script/install.js" downloads.',
	webgpu: 'It needs a graphics card and its driver (Vulkan on Linux).',
	dml: 'It needs Windows with DirectX 12.',
	coreml: 'It needs macOS.',
};
