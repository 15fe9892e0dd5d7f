import { FormatError } from '@lorakit/format';
import { checkFeeds, countOf, type Graph, type HostTensor, type LoadOptions, type ParameterSource } from '@lorakit/runtime';
import { createMemoryGuard, prepareWeights, type TfjsContext, tfjsError, useBackend } from '@lorakit/runtime/engines/tfjs';
import type { GradientRequest, GradientSession } from '../gradient-engine.js';
import { planGradients } from './plan-gradients.js';
import { runGradients } from './run-gradients.js';

/**
 * A graph whose weights are tensors of TensorFlow.js, one copy, ready to be differentiated.
 * @throws {FormatError} `E_USAGE` for a request that does not fit the graph, `E_INTERRUPTED`; those of `prepareWeights`
 */
export async function loadGradientSession(
	context: TfjsContext,
	graph: Graph,
	request: GradientRequest,
	parameters: ParameterSource,
	options: LoadOptions,
	memoryLimit: number,
): Promise<GradientSession> {
	const { backend } = context;
	const plan = planGradients(graph, request, options.taps);
	// As the runtime's engines say it: a run that is stopped while it loads is an interruption, not a fault.
	if (options.signal?.aborted === true) {
		throw new FormatError('E_INTERRUPTED', 'Loading the model was stopped.', { cause: options.signal.reason });
	}
	await useBackend(context);
	const weights = await prepareWeights(context, plan.graph, parameters, options, memoryLimit).catch((error: unknown) => {
		throw tfjsError(error, backend, undefined);
	});
	const guard = createMemoryGuard(context, memoryLimit);
	let closed = false;
	// One run after the other: two at once would need twice the memory, and be no faster.
	let last: Promise<unknown> = Promise.resolve();

	return {
		async run(feeds) {
			const sizes = checkFeeds(graph, feeds);
			const result = last.then(async () => {
				if (closed) throw new FormatError('E_USAGE', 'The session is closed; load the model again.');
				await useBackend(context);
				const { outputs, gradients } = await runGradients({ context, plan, weights, sizes, feeds, guard });
				return { outputs, gradients: { ...zerosOf(request, feeds), ...gradients } };
			});
			last = result.catch(() => undefined);
			return await result;
		},
		async close() {
			await last;
			if (!closed) weights.dispose();
			closed = true;
		},
	};
}

/** What the loss does not depend on has a gradient of zeros. */
function zerosOf({ wrt }: GradientRequest, feeds: Readonly<Record<string, HostTensor>>): Record<string, HostTensor> {
	return Object.fromEntries(
		wrt.map((name): [string, HostTensor] => {
			const shape = feeds[name]?.shape ?? [];
			return [name, { dtype: 'f32', shape, data: new Float32Array(countOf(shape)) }];
		}),
	);
}
