import type { Engine, Graph, HostTensor } from '@lorakit/runtime';
import { peakLiveBytes } from '../run/plan/live-bytes.js';
import { differentiate, gradientName } from './differentiate.js';
import type { GradientEngine } from './gradient-engine.js';

/** A node of a loaded graph, and pages of an arena by bytes in use at its peak (`onnx-memory.ts`, where they were measured). */
const NODE_BYTES = 11_000;
const ARENA_SLACK = 1.25;

/** What a loaded graph and the memory for its values hold. */
function runBytes(graph: Graph): number {
	return NODE_BYTES * graph.nodes.length + ARENA_SLACK * peakLiveBytes(graph);
}

/** Gradients by differentiating the graph itself, forward and backward in one, on an engine of the runtime. */
export function engineGradients(engine: Engine): GradientEngine {
	return {
		id: engine.id,
		device: engine.device,
		async load(graph, request, parameters, options) {
			const whole = differentiate(graph, request);
			const session = await engine.load(whole, parameters, { ...options, compact: request.memory === 'lean' });
			return {
				ownBytes: session.weightBytes === undefined ? undefined : session.weightBytes + runBytes(whole),
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
