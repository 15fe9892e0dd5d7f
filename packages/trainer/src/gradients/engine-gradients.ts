import type { Engine, HostTensor } from '@lorakit/runtime';
import { differentiate, gradientName } from './differentiate.js';
import type { GradientEngine } from './gradient-engine.js';
import { arenaBytes, graphBytes } from './loaded-graph-bytes.js';

/** Gradients by differentiating the graph itself, forward and backward in one, on an engine of the runtime. */
export function engineGradients(engine: Engine): GradientEngine {
	return {
		id: engine.id,
		device: engine.device,
		async load(graph, request, parameters, options) {
			const whole = differentiate(graph, request);
			const session = await engine.load(whole, parameters, { ...options, compact: request.memory === 'lean' });
			return {
				ownBytes: session.weightBytes === undefined ? undefined : session.weightBytes + graphBytes(whole) + arenaBytes(whole),
				async run(feeds) {
					const all = await session.run(feeds);
					const gradients = request.wrt.map((name): [string, HostTensor] => [name, need(all[gradientName(name)])]);
					const names = new Set(request.wrt.map(gradientName));
					const outputs = Object.entries(all).filter(([name]) => !names.has(name));
					return { outputs: Object.fromEntries(outputs), gradients: Object.fromEntries(gradients) };
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
