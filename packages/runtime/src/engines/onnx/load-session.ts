import type { Tensor } from '@lorakit/format';
import type { InferenceSession } from 'onnxruntime-common';
import { type CompositeName, type Graph, lowerGraph } from '../../graph/index.js';
import { checkAbort } from '../check-abort.js';
import type { LoadOptions, ParameterSource, Session } from '../engine.js';
import { encodeModel } from './encode-model.js';
import { lowerToOnnx, ONNX_KERNELS } from './lower-to-onnx.js';
import type { ExternalRange } from './onnx-model.js';
import { type Ort, onnxSession } from './onnx-session.js';
import { ortError } from './ort-error.js';
import { type PlacedWeights, placeWeights } from './place-weights.js';
import type { Precision } from './precision.js';

/** How a graph becomes a model. */
export interface LoweringOptions {
	/** Composites that stay whole; default: all that ONNX Runtime has kernels for. */
	readonly kernels?: ReadonlySet<CompositeName> | undefined;
	/** Default: `fp32`. */
	readonly precision?: Precision | undefined;
	/** Weights stay in the memory of their file where nothing rearranges them: on the CPU, from local files. */
	readonly maps?: boolean | undefined;
}

/**
 * A graph as an ONNX model in memory, its weights read by ONNX Runtime from where `locate` says they are.
 * @throws {FormatError} those of reading; those of `ortError`.
 */
export async function loadSession(
	ort: Ort,
	graph: Graph,
	parameters: ParameterSource,
	locate: (tensor: Tensor) => ExternalRange | undefined,
	sessionOptions: (weights: PlacedWeights) => InferenceSession.SessionOptions,
	options: LoadOptions = {},
	{ kernels = ONNX_KERNELS, precision = 'fp32', maps = false }: LoweringOptions = {},
): Promise<Session> {
	const lowered = lowerGraph(graph, { kernels, taps: options.taps });
	checkAbort(options.signal);
	const weights = await placeWeights(lowered, parameters, locate, options);
	const model = encodeModel(lowerToOnnx(lowered, weights.place, precision));
	checkAbort(options.signal);
	let inner: InferenceSession;
	try {
		const settings = sessionOptions(weights);
		const externalData = weights.memory.map(({ path, data }) => ({ path, data }));
		inner = await ort.InferenceSession.create(model, externalData.length === 0 ? settings : { ...settings, externalData });
	} catch (error) {
		throw ortError(error, 'loading the model');
	}
	options.onProgress?.(weights.total, weights.total);
	const outputs = lowered.outputs.map(({ name }) => name);
	const { all, mapped } = weights.bytes;
	return { ...onnxSession(ort, inner, graph, outputs), weightBytes: maps && options.compact === true ? all - mapped : all };
}
