import { FormatError } from '@lorakit/format';
import type { InferenceSession, Tensor } from 'onnxruntime-common';
import type { Graph } from '../../graph/index.js';
import { f32Tensor, type HostTensor } from '../../host-tensor.js';
import { checkFeeds } from '../check-feeds.js';
import type { Session } from '../engine.js';
import { onnxInputName, onnxOutputName } from './lower-to-onnx.js';
import { ortError } from './ort-error.js';

/** What we use of `onnxruntime-node` and `onnxruntime-web`, which are alike. */
export interface Ort {
	readonly InferenceSession: {
		create(model: Uint8Array, options?: InferenceSession.SessionOptions): Promise<InferenceSession>;
	};
	readonly Tensor: new (type: 'float32' | 'int32', data: Float32Array | Int32Array, dims: readonly number[]) => Tensor;
}

/** A session over ONNX Runtime's; `outputs` are the names of what it computes. */
export function onnxSession(ort: Ort, inner: InferenceSession, graph: Graph, outputs: readonly string[]): Session {
	// One run after the other: onnxruntime-web refuses a second one while the first is under way.
	let last: Promise<unknown> = Promise.resolve();
	let closed = false;

	async function run(feeds: Readonly<Record<string, HostTensor>>): Promise<Readonly<Record<string, HostTensor>>> {
		if (closed) throw new FormatError('E_USAGE', 'The session is closed; load the model again.');
		const given = graph.inputs.map(({ name }): [string, Tensor] => [onnxInputName(name), toOrt(ort, feeds[name] as HostTensor)]);
		const results = await inner.run(Object.fromEntries(given)).catch((error: unknown) => {
			throw ortError(error, 'computing');
		});
		return Object.fromEntries(outputs.map((name) => [name, fromOrt(results[onnxOutputName(name)])]));
	}

	return {
		graph,
		async run(feeds) {
			checkFeeds(graph, feeds);
			const result = last.then(() => run(feeds));
			last = result.catch(() => undefined);
			return await result;
		},
		async close() {
			if (closed) return;
			closed = true;
			await last;
			await inner.release();
		},
	};
}

function toOrt(ort: Ort, { dtype, shape, data }: HostTensor): Tensor {
	if (dtype === 'i32') return new ort.Tensor('int32', data instanceof Int32Array ? data : Int32Array.from(data), shape);
	return new ort.Tensor('float32', data instanceof Float32Array ? data : Float32Array.from(data), shape);
}

/** Results are already in JavaScript's memory, a copy of ONNX Runtime's. */
function fromOrt(tensor: Tensor | undefined): HostTensor {
	if (!(tensor?.data instanceof Float32Array)) throw new TypeError(`an output is ${tensor?.type ?? 'missing'}, not float32`);
	return f32Tensor(tensor.dims, tensor.data);
}
