import { deviceOf, openContext, type TfjsEngineOptions } from '@lorakit/runtime/engines/tfjs';
import type { GradientEngine } from '../gradient-engine.js';
import { loadGradientSession } from './load-gradient-session.js';
import { registerMissing } from './register-missing.js';

export type { TfjsBackend, TfjsEngineOptions } from '@lorakit/runtime/engines/tfjs';

/**
 * TensorFlow.js' own gradients of a graph: what its kernels record on their tape, with no derivative of this project. It
 * computes in float32. `memory: 'fast'` is one tape over everything that depends on a wanted input; `lean` records the
 * graph in pieces, each computed again when its turn in the backward pass comes, attention in slices of query rows.
 *
 * TensorFlow.js computes where it is called: a `fast` run on `cpu` or `wasm` blocks its thread from end to end, a
 * `lean` one for a piece at a time.
 *
 * @throws {FormatError} as `createTfjsEngine`: `E_USAGE` when the backend, or without one every backend, does not work here
 */
export async function createTfjsGradientEngine(options: TfjsEngineOptions = {}): Promise<GradientEngine> {
	const context = await openContext(options);
	registerMissing(context);
	const { memoryLimit = Number.POSITIVE_INFINITY } = options;
	return {
		id: 'tfjs',
		device: deviceOf(context),
		load: (graph, request, parameters, load = {}) => loadGradientSession(context, graph, request, parameters, load, memoryLimit),
	};
}
