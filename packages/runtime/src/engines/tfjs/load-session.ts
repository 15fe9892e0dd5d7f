import { FormatError } from '@lorakit/format';
import type { Tensor } from '@tensorflow/tfjs';
import { type Graph, lowerGraph } from '../../graph/index.js';
import type { HostTensor } from '../../host-tensor.js';
import { checkAbort } from '../check-abort.js';
import { checkFeeds } from '../check-feeds.js';
import type { LoadOptions, ParameterSource, Session } from '../engine.js';
import { evaluationSteps } from './evaluate-graph.js';
import { toHost, toTensor } from './host-transfer.js';
import type { TfjsContext } from './kernel.js';
import { TFJS_KERNELS } from './kernels.js';
import { createMemoryGuard } from './memory-guard.js';
import { type PreparedWeights, prepareWeights } from './prepare-weights.js';
import { bytesFor, runSteps, useBackend } from './run-steps.js';
import { tfjsError } from './tfjs-error.js';

/** A graph whose weights are tensors of TensorFlow.js. @throws {FormatError} those of `prepareWeights` and `tfjsError`. */
export async function loadSession(
	context: TfjsContext,
	graph: Graph,
	parameters: ParameterSource,
	options: LoadOptions,
	memoryLimit: number,
): Promise<Session> {
	const { backend } = context;
	const lowered = lowerGraph(graph, { kernels: TFJS_KERNELS, taps: options.taps });
	checkAbort(options.signal);
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
			outputs = await runSteps(context, steps, {
				before(step) {
					at = step.node.scope;
					guard(bytesFor(step), `${at}: ${step.node.op}`);
				},
			});
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
}
