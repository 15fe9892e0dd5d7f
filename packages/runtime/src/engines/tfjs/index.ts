import type { Engine } from '../engine.js';
import type { Tfjs, TfjsBackend, TfjsContext } from './kernel.js';
import { loadSession } from './load-session.js';
import { openBackend, openBestBackend } from './open-backend.js';

export { type EvaluateOptions, type EvaluationStep, evaluateGraph, evaluationSteps } from './evaluate-graph.js';
export { toHost, toTensor } from './host-transfer.js';
export type { Tfjs, TfjsBackend, TfjsContext } from './kernel.js';
export { runKernel, TFJS_KERNELS } from './kernels.js';
export { createMemoryGuard } from './memory-guard.js';
export { openBackend, TFJS_BACKENDS } from './open-backend.js';
export { type PreparedWeights, prepareWeight, prepareWeights, weightsToPrepare } from './prepare-weights.js';
export { bytesFor, type EvaluationSteps, type RunStepsOptions, runSteps, runStepsAtOnce, useBackend } from './run-steps.js';
export { tfjsError } from './tfjs-error.js';

export interface TfjsEngineOptions {
	/** Default: the first of `TFJS_BACKENDS` that works. */
	readonly backend?: TfjsBackend | undefined;
	/**
	 * The instance of TensorFlow.js to use, for pages and bundles, which import it and its backends themselves. Default:
	 * `@tensorflow/tfjs` and the packages of its backends, which are looked for here.
	 */
	readonly tf?: Tfjs | undefined;
	/** Most bytes of tensors, all sessions together. Default: no limit but WebAssembly's own 4 GiB. */
	readonly memoryLimit?: number | undefined;
}

/** An engine over TensorFlow.js. */
export interface TfjsEngine extends Engine {
	readonly backend: TfjsBackend;
}

/**
 * TensorFlow.js, loaded here and not before: the TensorFlow library by tfjs-node-gpu or tfjs-node, WebGPU, WebAssembly, or
 * plain JavaScript. It computes in float32 on all of them.
 *
 * @throws {FormatError} `E_USAGE` when the backend, or without one every backend, does not work here: why, and what to do.
 */
export async function createTfjsEngine({
	backend,
	tf,
	memoryLimit = Number.POSITIVE_INFINITY,
}: TfjsEngineOptions = {}): Promise<TfjsEngine> {
	const context = await openContext({ backend, tf });
	return {
		id: 'tfjs',
		device: deviceOf(context),
		backend: context.backend,
		load: (graph, parameters, options = {}) => loadSession(context, graph, parameters, options, memoryLimit),
	};
}

/**
 * TensorFlow.js with a backend that works, loaded here and not before.
 * @throws {FormatError} as `createTfjsEngine`
 */
export async function openContext({ backend, tf }: Pick<TfjsEngineOptions, 'backend' | 'tf'> = {}): Promise<TfjsContext> {
	return backend === undefined ? await openBestBackend(tf) : await openBackend(backend, tf);
}

/** As `Engine.device`. */
export function deviceOf({ tf, backend }: TfjsContext): string {
	if (backend !== 'tensorflow') return backend;
	return (tf.backend() as { readonly isUsingGpuDevice?: boolean }).isUsingGpuDevice === true ? 'cuda' : 'cpu';
}
