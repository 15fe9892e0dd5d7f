import type { Value } from '../graph/index.js';
import { concat, joinHeads, matmul, scaleBy, sizeOf, slice, splitHeads } from '../graph/ops.js';
import { type AttentionCall, type AttentionProcessor, fusedAttention } from '../models/attention.js';
import type { Net } from '../models/net.js';

/** A function over the probabilities (b, heads, rows, t) of an attention layer, or of a piece of its query rows. */
export type ProbabilityHook = (net: Net, call: AttentionCall, probabilities: Value) => Value;

/** A hook and the layers it is for. */
export interface ProbabilityPart {
	wants(call: AttentionCall): boolean;
	readonly apply: ProbabilityHook;
}

export interface ExplicitAttentionOptions {
	/** Do the rows of the query in so many pieces. Hooks see one piece after the other; the numbers are the same. */
	readonly slices?: number | undefined;
	/** Gives the probabilities that are used instead, in the same shape. */
	readonly edit?: ProbabilityHook | undefined;
	/** Gives (n, rows, m), which the pieces put together make a tap of the graph: `probabilityTap`. Sees what `edit` gave. */
	readonly watch?: ProbabilityHook | undefined;
}

/** Where `watch` puts what it gave for a layer. */
export function probabilityTap(component: string, path: string): string {
	return `${component}.${path}.probabilities`;
}

/**
 * Attention written out: softmax(scale q k^T), then the product with v, by head. What it needs more than the fused
 * kernel is b * heads * (rows of a piece) * t numbers.
 */
export function explicitAttention({ slices = 1, edit, watch }: ExplicitAttentionOptions = {}): AttentionProcessor {
	return (net, call) => {
		const { ops } = net;
		const [key, value] = [splitHeads(ops, call.key, call.heads), splitHeads(ops, call.value, call.heads)];
		const query = scaleBy(ops, splitHeads(ops, call.query, call.heads), call.scale);
		const rows = sizeOf(call.query, 1);
		const step = Math.ceil(rows / Math.max(1, slices));
		const mixed: Value[] = [];
		const watched: Value[] = [];
		for (let from = 0; from < rows; from += step) {
			const piece = step < rows ? slice(ops, query, 2, from, Math.min(rows, from + step)) : query;
			const own = ops.apply('softmax', [matmul(ops, piece, key, false, true)], {});
			const probabilities = edit?.(net, call, own) ?? own;
			if (watch !== undefined) watched.push(watch(net, call, probabilities));
			mixed.push(matmul(ops, probabilities, value));
		}
		if (watched.length > 0) ops.tap(probabilityTap(net.component, call.path), together(net, 1, watched));
		return joinHeads(ops, together(net, 2, mixed));
	};
}

export interface HookedAttentionOptions {
	readonly edit?: ProbabilityPart | undefined;
	readonly watch?: ProbabilityPart | undefined;
	readonly slices?: number | undefined;
}

/** Written out where a hook wants the layer; the fused kernel elsewhere. */
export function hookedAttention({ edit, watch, slices = 1 }: HookedAttentionOptions): AttentionProcessor {
	const fused = fusedAttention(slices);
	return (net, call) => {
		const editing = edit?.wants(call) === true ? edit.apply : undefined;
		const watching = watch?.wants(call) === true ? watch.apply : undefined;
		if (editing === undefined && watching === undefined) return fused(net, call);
		return explicitAttention({ slices, edit: editing, watch: watching })(net, call);
	};
}

function together({ ops }: Net, axis: number, parts: readonly Value[]): Value {
	const [first] = parts;
	return parts.length === 1 && first !== undefined ? first : concat(ops, axis, ...parts);
}
