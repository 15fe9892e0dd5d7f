import type { Value } from '../graph/index.js';
import { add, mul, reshape, sizeOf, slice, transpose } from '../graph/ops.js';
import { type AttentionProcessor, attention } from './attention.js';
import type { Net } from './net.js';

export interface TransformerOptions {
	readonly heads: number;
	readonly layers: number;
	readonly groups: number;
	readonly linearProjection: boolean;
	/** (b, t, d) text states. */
	readonly states: Value;
	readonly processor: AttentionProcessor;
}

/** Transformer2DModel's own group norm, whatever the UNet's says (diffusers' models/transformers/transformer_2d.py). */
const GROUP_EPSILON = 1e-6;
/** BasicTransformerBlock's layer norms. */
const LAYER_EPSILON = 1e-5;

/** Transformer2DModel: x (b, c, h, w) -> the same shape. */
export function transformer2d(net: Net, path: string, x: Value, options: TransformerOptions): Value {
	const { ops } = net;
	const { heads, layers, groups, linearProjection, states, processor } = options;
	const [b, c, h, w] = [sizeOf(x, 0), sizeOf(x, 1), sizeOf(x, 2), sizeOf(x, 3)];
	const toRows = (v: Value): Value => reshape(ops, transpose(ops, v, 0, 2, 3, 1), [b, h * w, c]);
	const toPicture = (v: Value): Value => transpose(ops, reshape(ops, v, [b, h, w, c]), 0, 3, 1, 2);
	return net.module(path, () => {
		let y = net.groupNorm(`${path}.norm`, x, groups, GROUP_EPSILON);
		y = linearProjection ? net.linear(`${path}.proj_in`, toRows(y), c) : toRows(net.conv(`${path}.proj_in`, y, c, { kernel: 1 }));
		for (let n = 0; n < layers; n++) y = transformerBlock(net, `${path}.transformer_blocks.${n}`, y, { heads, states, processor });
		y = linearProjection ? toPicture(net.linear(`${path}.proj_out`, y, c)) : net.conv(`${path}.proj_out`, toPicture(y), c, { kernel: 1 });
		return add(ops, y, x);
	});
}

/** BasicTransformerBlock: self-attention, cross-attention, feed-forward, each behind a norm and added. x (b, s, c) */
function transformerBlock(
	net: Net,
	path: string,
	x: Value,
	{ heads, states, processor }: Pick<TransformerOptions, 'heads' | 'states' | 'processor'>,
): Value {
	const { ops } = net;
	const options = { heads, processor, bias: false };
	return net.module(path, () => {
		const one = add(ops, attention(net, `${path}.attn1`, net.layerNorm(`${path}.norm1`, x, LAYER_EPSILON), undefined, options), x);
		const two = add(ops, attention(net, `${path}.attn2`, net.layerNorm(`${path}.norm2`, one, LAYER_EPSILON), states, options), one);
		return add(ops, feedForward(net, `${path}.ff`, net.layerNorm(`${path}.norm3`, two, LAYER_EPSILON)), two);
	});
}

/** GEGLU of four times the width: the first half of what `net.0.proj` gives, times gelu of the second. */
function feedForward(net: Net, path: string, x: Value): Value {
	const { ops } = net;
	const c = sizeOf(x, 2);
	return net.module(path, () => {
		const both = net.linear(`${path}.net.0.proj`, x, 8 * c);
		const gate = ops.apply('gelu', [slice(ops, both, 2, 4 * c, 8 * c)], {});
		return net.linear(`${path}.net.2`, mul(ops, slice(ops, both, 2, 0, 4 * c), gate), c);
	});
}
