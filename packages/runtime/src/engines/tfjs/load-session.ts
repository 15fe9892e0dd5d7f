import { FormatError } from '@lorakit/format';
import type { Tensor } from '@tensorflow/tfjs';
import { type Graph, lowerGraph } from '../../graph/index.js';
import { countOf, type HostTensor } from '../../host-tensor.js';
import { checkFeeds } from '../check-feeds.js';
import type { LoadOptions, ParameterSource, Session } from '../engine.js';
import { type EvaluationStep, evaluationSteps } from './evaluate-graph.js';
import type { TfjsContext } from './kernel.js';
import { TFJS_KERNELS } from './kernels.js';
import { createMemoryGuard } from './memory-guard.js';
import { type PreparedWeights, prepareWeights } from './prepare-weights.js';
import { tfjsError } from './tfjs-error.js';

/** Timers, signals and pages get a turn after so many milliseconds of computing. */
const TURN = 100;

/** A graph whose weights are tensors of TensorFlow.js. @throws {FormatError} those of `prepareWeights` and `tfjsError`. */
export async function loadSession(
	context: TfjsContext,
	graph: Graph,
	parameters: ParameterSource,
	options: LoadOptions,
	memoryLimit: number,
): Promise<Session> {
	const { tf, backend } = context;
	const lowered = lowerGraph(graph, { kernels: TFJS_KERNELS, taps: options.taps });
	options.signal?.throwIfAborted();
	await useBackend(context);
	let weights: PreparedWeights | undefined = await prepareWeights(context, lowered, parameters, options, memoryLimit).catch(
		(error: unknown) => {
			throw tfjsError(error, backend, undefined);
		},
	);
	const guard = createMemoryGuard(context, memoryLimit);
	// One run after the other: two at once would need twice the memory, and be no faster.
	let last: Promise<unknown> = Promise.resolve();

	async function run(
		feeds: Readonly<Record<string, HostTensor>>,
		sizes: ReadonlyMap<string, number>,
	): Promise<Readonly<Record<string, HostTensor>>> {
		if (weights === undefined) throw new FormatError('E_USAGE', 'The session is closed; load the model again.');
		await useBackend(context);
		const fed = new Map<number, Tensor>();
		let outputs: ReadonlyMap<number, Tensor> | undefined;
		let at: string | undefined;
		try {
			for (const { name, value } of lowered.inputs) fed.set(value, toTensor(context, feeds[name] as HostTensor));
			const values = new Map([...weights.tensors, ...fed]);
			const steps = evaluationSteps(context, lowered, values, { sizes, prepared: weights.prepared });
			try {
				let turn = Date.now();
				for (let step = steps.next(); ; step = steps.next()) {
					if (step.done === true) {
						outputs = step.value;
						break;
					}
					at = step.value.node.scope;
					guard(bytesFor(step.value), `${at}: ${step.value.node.op}`);
					if (Date.now() - turn < TURN) continue;
					await new Promise((resolve) => setTimeout(resolve, 0));
					await useBackend(context);
					turn = Date.now();
				}
			} finally {
				// Disposes what was made, where it was given up.
				steps.return(new Map());
			}
			const read = new Map<number, HostTensor>();
			for (const [value, tensor] of outputs) read.set(value, await toHost(tensor));
			return Object.fromEntries(lowered.outputs.map(({ name, value }) => [name, read.get(value) as HostTensor]));
		} catch (error) {
			throw tfjsError(error, backend, at);
		} finally {
			for (const tensor of [...fed.values(), ...(outputs?.values() ?? [])]) tensor.dispose();
		}
	}

	return {
		graph,
		async run(feeds) {
			const sizes = checkFeeds(graph, feeds);
			const result = last.then(() => run(feeds, sizes));
			last = result.catch(() => undefined);
			return await result;
		},
		async close() {
			await last;
			weights?.dispose();
			weights = undefined;
		},
	};

	/** TensorFlow.js has one backend at a time, for all who use it. */
	async function useBackend(own: TfjsContext): Promise<void> {
		if (tf.getBackend() !== own.backend) await tf.setBackend(own.backend);
	}
}

/** The result, and operands turned round for it. */
function bytesFor({ node, shape, operands }: EvaluationStep): number {
	const result = 4 * countOf(shape);
	const largest = Math.max(0, ...operands.map((s) => 4 * countOf(s)));
	return node.op === 'conv2d' || node.op === 'attention' || node.op === 'matmul' ? 2 * (result + largest) : 2 * result;
}

function toTensor({ tf }: TfjsContext, { dtype, shape, data }: HostTensor): Tensor {
	// Some backends keep the array they are given.
	return dtype === 'i32'
		? tf.tensor(Int32Array.from(data), [...shape], 'int32')
		: tf.tensor(Float32Array.from(data), [...shape], 'float32');
}

async function toHost(tensor: Tensor): Promise<HostTensor> {
	const data = await tensor.data();
	const shape = [...tensor.shape];
	return tensor.dtype === 'int32'
		? { dtype: 'i32', shape, data: Int32Array.from(data) }
		: { dtype: 'f32', shape, data: Float32Array.from(data) };
}
