import type { Engine, HostTensor } from '@lorakit/runtime';
import { differentiate, gradientName } from './differentiate.js';
import type { GradientEngine } from './gradient-engine.js';

/** Gradients by differentiating the graph itself, forward and backward in one, on an engine of the runtime. */
export function engineGradients(engine: Engine): GradientEngine {
	return {
		id: engine.id,
		device: engine.device,
		async load(graph, request, parameters, options) {
			const session = await engine.load(differentiate(graph, request), parameters, { ...options, compact: request.memory === 'lean' });
			return {
				async run(feeds) {
					const all = await session.run(feeds);
					const outputs: Record<string, HostTensor> = {};
					const gradients: Record<string, HostTensor> = {};
					for (const { name } of graph.outputs) outputs[name] = need(all[name]);
					for (const name of request.wrt) gradients[name] = need(all[gradientName(name)]);
					return { outputs, gradients };
				},
				close: () => session.close(),
			};
		},
	};
}

function need(tensor: HostTensor | undefined): HostTensor {
	if (tensor === undefined) throw new TypeError('an output is missing');
	return tensor;
}
