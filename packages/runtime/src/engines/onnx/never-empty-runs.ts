import type { Graph } from '../../graph/index.js';
import { countOf, f32Tensor, type HostTensor } from '../../host-tensor.js';
import type { Session } from '../engine.js';

/**
 * The session for a device that refuses to compute nothing, as ONNX Runtime 1.30's WebGPU does ("invalid dispatch group
 * size"). A size with a name is a rank that is summed over, so that one of zeros is as good as none.
 */
export function neverEmptyRuns(session: Session): Session {
	return { ...session, run: (feeds) => session.run(withoutEmpty(session.graph, feeds)) };
}

function withoutEmpty(graph: Graph, feeds: Readonly<Record<string, HostTensor>>): Readonly<Record<string, HostTensor>> {
	const filled = graph.inputs.flatMap(({ name, value }): [string, HostTensor][] => {
		const feed = feeds[name];
		const shape = graph.values[value]?.shape ?? [];
		const named = (d: number, i: number): boolean => d === 0 && typeof shape[i] === 'string';
		if (feed === undefined || !feed.shape.some(named)) return [];
		const size = feed.shape.map((d, i) => (named(d, i) ? 1 : d));
		return [[name, f32Tensor(size, new Float32Array(countOf(size)))]];
	});
	return { ...feeds, ...Object.fromEntries(filled) };
}
