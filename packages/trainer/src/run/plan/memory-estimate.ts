import type { Graph } from '@lorakit/runtime';
import { blocksOfNodes } from '../../gradients/block-of-nodes.js';
import type { TrainingMemory } from '../../gradients/gradient-engine.js';
import type { OptimizerOptions } from '../../optimizers/optimizer-options.js';

/** An estimate in bytes, part by part: what is counted is said, what is not is not. */
export interface MemoryEstimate {
	/** The graph's weights in float32. */
	readonly weights: number;
	/** Trained values, their gradients, accumulated gradients, the optimizer's state, moving mean and best values. */
	readonly training: number;
	/** Values of the forward pass that are kept, and those that are computed at one time. */
	readonly activations: number;
	/** All together. */
	readonly total: number;
	/** How it was come by, one sentence. */
	readonly rule: string;
}

export interface MemoryRequest {
	/** The training graph of the largest batch (`objectiveGraph`). */
	readonly graph: Graph;
	readonly memory: TrainingMemory;
	/** Trained numbers. */
	readonly parameters: number;
	readonly optimizer: OptimizerOptions['kind'];
	readonly ema: boolean;
	readonly keepBest: boolean;
}

const F32 = 4;
/** Bytes of state by trained number: two moments; two moments in a byte each with a scale for 256; Prodigy's four arrays. */
export const OPTIMIZER_STATE_BYTES: Readonly<Record<OptimizerOptions['kind'], number>> = { adamw: 8, adamw8bit: 2 + 8 / 256, prodigy: 16 };

/**
 * What a step takes, about. `fast`: every value of the forward pass is counted once, as if all were kept. `lean`: the values between blocks,
 * and twice the largest block (computed again, with its gradients). Left out: attention maps (they are computed in slices or by the
 * engine's own kernel), buffers of the engine, the VAE and text encoder while caches are filled, decoded pictures. So it is an estimate for
 * planning; the truth is measured.
 */
export function estimateMemory({ graph, memory, parameters, optimizer, ema, keepBest }: MemoryRequest): MemoryEstimate {
	const bytesOf = (id: number): number =>
		(graph.values[id]?.shape ?? []).reduce<number>((product, d) => product * (typeof d === 'number' ? d : 1), F32);
	const weights = graph.parameters.reduce((sum, { value }) => sum + bytesOf(value), 0);
	const training = parameters * (F32 * (3 + Number(ema) + Number(keepBest)) + OPTIMIZER_STATE_BYTES[optimizer]);
	const blocks = blocksOfNodes(graph);
	let all = 0;
	const inside = new Map<number, number>();
	const last = new Map<number, number>();
	graph.nodes.forEach(({ output }, i) => {
		const bytes = bytesOf(output);
		const block = blocks[i] ?? 0;
		all += bytes;
		inside.set(block, (inside.get(block) ?? 0) + bytes);
		last.set(block, bytes);
	});
	const between = [...last.values()].reduce((sum, bytes) => sum + bytes, 0);
	const activations = memory === 'fast' ? all : between + 2 * Math.max(0, ...inside.values());
	return {
		weights,
		training,
		activations,
		total: weights + training + activations,
		rule:
			memory === 'fast'
				? 'weights in float32 + values, gradients and state of what is trained + every value of the forward pass once'
				: 'weights in float32 + values, gradients and state of what is trained + values between blocks + twice the largest block',
	};
}
