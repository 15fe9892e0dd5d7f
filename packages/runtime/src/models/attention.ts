import type { Value } from '../graph/index.js';
import { sizeOf } from '../graph/ops.js';
import type { Net } from './net.js';

/** One attention layer, ready for its middle: what a processor gets. */
export interface AttentionCall {
	/** Dotted path: `mid_block.attentions.0.transformer_blocks.0.attn2`. */
	readonly path: string;
	readonly kind: 'self' | 'cross';
	/** (b, s, heads * d) */
	readonly query: Value;
	/** (b, t, heads * d) */
	readonly key: Value;
	readonly value: Value;
	readonly heads: number;
	/** 1 / sqrt(d) */
	readonly scale: number;
}

/**
 * What happens between the projections of an attention layer: (b, s, heads * d) from a call. It is a function over
 * `Ops` and becomes part of the graph. The default is one node, for which engines have a fused kernel.
 */
export type AttentionProcessor = (net: Net, call: AttentionCall) => Value;

/** softmax(q k^T / sqrt(d)) v by head. @param slices do the rows of the query in so many pieces: less memory, same numbers */
export function fusedAttention(slices = 1): AttentionProcessor {
	return ({ ops }, { query, key, value, heads, scale }) =>
		ops.apply('attention', [query, key, value], { heads, scale, causal: false, slices });
}

export interface AttentionOptions {
	readonly heads: number;
	/** Whether q, k and v have biases: the VAE's do. */
	readonly bias: boolean;
	readonly processor: AttentionProcessor;
}

/**
 * `to_q`, `to_k`, `to_v`, the middle, `to_out.0`. x (b, s, c); states (b, t, c2) for cross-attention, undefined for self.
 * Names: diffusers' models/attention_processor.py.
 */
export function attention(
	net: Net,
	path: string,
	x: Value,
	states: Value | undefined,
	{ heads, bias, processor }: AttentionOptions,
): Value {
	const width = sizeOf(x, 2);
	const source = states ?? x;
	return net.module(path, () => {
		const query = net.linear(`${path}.to_q`, x, width, { bias });
		const key = net.linear(`${path}.to_k`, source, width, { bias });
		const value = net.linear(`${path}.to_v`, source, width, { bias });
		const kind = states === undefined ? 'self' : 'cross';
		const scale = 1 / Math.sqrt(width / heads);
		const mixed = net.ops.scope(path, () => processor(net, { path, kind, query, key, value, heads, scale }));
		return net.linear(`${path}.to_out.0`, mixed, width);
	});
}
