import type { Graph, GraphNode } from '@lorakit/runtime';
import type { TfjsContext } from '@lorakit/runtime/engines/tfjs';
import type { Tensor } from '@tensorflow/tfjs';

/** What `recordSegment` computes. */
export interface SegmentRequest {
	/** The segment's outputs by value, made of the tensors that the caller holds. Called once, while the tape runs. */
	readonly compute: () => ReadonlyMap<number, Tensor>;
	/** Tensors whose gradients are wanted. */
	readonly from: readonly Tensor[];
	/** The gradient of the loss by each output; one that has none takes no part. */
	readonly upstream: ReadonlyMap<number, Tensor>;
	/** Values that the caller wants too. */
	readonly keep: ReadonlySet<number>;
	/** Told how many bytes the tape holds, before the gradients are computed; may throw. */
	readonly recorded: (bytes: number) => void;
}

export interface SegmentGradients {
	/** As `from`; undefined: no gradient reaches it. The caller disposes them. */
	readonly gradients: readonly (Tensor | undefined)[];
	/** Those of `keep`. The caller disposes them. */
	readonly kept: ReadonlyMap<number, Tensor>;
}

/** One tape: forward and backward. Nothing but the result outlives it, thrown errors included. */
export function recordSegment({ tf }: TfjsContext, { compute, from, upstream, keep, recorded }: SegmentRequest): SegmentGradients {
	const engine = tf.engine();
	const kept = new Map<number, Tensor>();
	const before = tf.memory().numBytes;
	try {
		let gradients: readonly (Tensor | undefined)[] = [];
		tf.tidy('segment', () => {
			const { grads } = engine.gradients(
				() => {
					const outputs = compute();
					for (const id of keep) {
						const output = outputs.get(id);
						if (output !== undefined) kept.set(id, tf.keep(tf.clone(output)));
					}
					const y = weighted(tf, outputs, upstream);
					recorded(tf.memory().numBytes - before);
					return y;
				},
				[...from],
				undefined,
				true,
			);
			// One that no gradient reaches is undefined, whatever its type says.
			gradients = grads.map((g: Tensor | undefined) => (g === undefined ? undefined : tf.keep(tf.clone(g))));
		});
		return { gradients, kept };
	} catch (error) {
		for (const tensor of kept.values()) tensor.dispose();
		dropTape(engine);
		throw error;
	}
}

/** The sum of outputs, each by its gradient: the gradients of this one number are those of the loss. */
function weighted(tf: TfjsContext['tf'], outputs: ReadonlyMap<number, Tensor>, upstream: ReadonlyMap<number, Tensor>): Tensor {
	let sum: Tensor = tf.scalar(0);
	for (const [id, gradient] of upstream) {
		const output = outputs.get(id);
		if (output !== undefined) sum = tf.add(sum, tf.sum(tf.mul(output, gradient)));
	}
	return sum;
}

/** Where recording ended with an error, TensorFlow.js leaves what the tape kept. */
function dropTape(engine: ReturnType<TfjsContext['tf']['engine']>): void {
	const { state } = engine;
	if (state.gradientDepth > 0) return;
	for (const { saved } of state.activeTape ?? []) for (const tensor of saved ?? []) tensor.dispose();
	state.activeTape = [];
}

/** A part of a graph as a graph: `wanted` are its outputs. What else it takes, the caller has. */
export function partOf(graph: Graph, nodes: readonly GraphNode[], wanted: Iterable<number>): Graph {
	return { ...graph, nodes, outputs: Array.from(wanted, (value) => ({ name: String(value), value })), taps: [] };
}
