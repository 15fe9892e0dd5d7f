import { FormatError } from '@lorakit/format';
import { registerFilterGradient } from './filter-gradient.js';
import type { Tfjs, TfjsBackend, TfjsContext } from './kernel.js';

/** From the fastest to the one that works everywhere. */
export const TFJS_BACKENDS: readonly TfjsBackend[] = ['tensorflow', 'webgpu', 'wasm', 'cpu'];

/**
 * Load what a backend needs, make it TensorFlow.js' current one, and try it.
 * @param given an instance of TensorFlow.js to use, with the backend registered
 * @throws {FormatError} `E_DEVICE`: not installed, or it does not work here; the message says why and what to do.
 */
export async function openBackend(backend: TfjsBackend, given?: Tfjs): Promise<TfjsContext> {
	try {
		const tf = given ?? (await LOADERS[backend]());
		await setBackend(tf, backend);
		if (backend === 'wasm') registerFilterGradient(tf);
		const sum = tf.tidy(() => tf.matMul(tf.tensor2d([1, 2], [1, 2]), tf.tensor2d([3, 4], [2, 1])));
		const [got] = await sum.data();
		sum.dispose();
		if (got !== 11) throw new Error(`1 * 3 + 2 * 4 gave ${got}`);
		return { tf, backend };
	} catch (cause) {
		const [why = ''] = (cause instanceof Error ? cause.message : String(cause)).split('\n', 1);
		throw new FormatError(
			'E_DEVICE',
			`TensorFlow.js' backend ${backend} does not work here: ${why.replace(/\.$/, '')}. ${REMEDIES[backend]}`,
			{ cause },
		);
	}
}

/** The best backend that works. @throws {FormatError} `E_DEVICE`, with each one's reason, when none does. */
export async function openBestBackend(given?: Tfjs): Promise<TfjsContext> {
	const reasons: string[] = [];
	for (const backend of TFJS_BACKENDS) {
		try {
			return await openBackend(backend, given);
		} catch (error) {
			reasons.push(error instanceof Error ? error.message : String(error));
		}
	}
	throw new FormatError('E_DEVICE', `No backend of TensorFlow.js works here. ${reasons.join(' ')}`);
}

async function setBackend(tf: Tfjs, backend: TfjsBackend): Promise<void> {
	if (tf.findBackendFactory(backend) === null) throw new Error(`it is not registered with this instance of TensorFlow.js`);
	if (!(await tf.setBackend(backend))) throw new Error('it cannot be initialised');
	await tf.ready();
}

/** Packages are named so that bundlers do not look for those that are not installed. */
const load = (name: string): Promise<unknown> => import(/* @vite-ignore */ /* webpackIgnore: true */ name);

const LOADERS: Readonly<Record<TfjsBackend, () => Promise<Tfjs>>> = {
	async tensorflow() {
		const node = globalThis.process;
		if (node?.versions?.node === undefined) throw new Error('it is for Node only');
		// TensorFlow talks to the terminal from level 0 on, and reads this when it is loaded.
		node.env['TF_CPP_MIN_LOG_LEVEL'] ??= '2';
		restoreIsNullOrUndefined(node);
		try {
			return unwrapped(await load('@tensorflow/tfjs-node-gpu'));
		} catch (gpu) {
			try {
				return unwrapped(await load('@tensorflow/tfjs-node'));
			} catch (cpu) {
				throw isMissing(gpu) ? cpu : gpu;
			}
		}
	},
	async webgpu() {
		const { gpu } = (globalThis.navigator ?? {}) as { readonly gpu?: { requestAdapter(): Promise<unknown> } };
		if (gpu === undefined) throw new Error('there is no navigator.gpu');
		// TensorFlow.js would say that it cannot read null's features.
		if ((await gpu.requestAdapter()) === null) throw new Error('there is no graphics adapter');
		const tf = await loadTfjs();
		await load('@tensorflow/tfjs-backend-webgpu');
		return tf;
	},
	async wasm() {
		const tf = await loadTfjs();
		await load('@tensorflow/tfjs-backend-wasm');
		return tf;
	},
	cpu: loadTfjs,
};

async function loadTfjs(): Promise<Tfjs> {
	const tf = unwrapped(await import('@tensorflow/tfjs'));
	// Else it greets the terminal.
	tf.env().set('PROD', true);
	return tf;
}

/** Node gives a CommonJS module's exports as its default too, and by name only those that it can see. */
function unwrapped(module: unknown): Tfjs {
	const { default: inner } = module as { readonly default?: Tfjs };
	return inner ?? (module as Tfjs);
}

function isMissing(error: unknown): boolean {
	return (
		(error as { readonly code?: unknown }).code === 'ERR_MODULE_NOT_FOUND' ||
		(error as { readonly code?: unknown }).code === 'MODULE_NOT_FOUND'
	);
}

/** tfjs-node 4.22 calls `util.isNullOrUndefined`, which Node 23 took away. */
function restoreIsNullOrUndefined(node: NodeJS.Process): void {
	const util = node.getBuiltinModule?.('node:util') as { isNullOrUndefined?: (value: unknown) => boolean } | undefined;
	if (util !== undefined) util.isNullOrUndefined ??= (value) => value === null || value === undefined;
}

const REMEDIES: Readonly<Record<TfjsBackend, string>> = {
	tensorflow:
		'Install @tensorflow/tfjs-node 4.22 (or tfjs-node-gpu); its installer needs a file that may be out of reach, docs/engines.md tells the way round.',
	webgpu: 'It needs @tensorflow/tfjs-backend-webgpu 4.22 and a browser with WebGPU, or the package webgpu in Node (docs/engines.md).',
	wasm: 'Install @tensorflow/tfjs-backend-wasm 4.22 beside @tensorflow/tfjs.',
	cpu: 'Install it with "npm install @tensorflow/tfjs@4.22.0".',
};
