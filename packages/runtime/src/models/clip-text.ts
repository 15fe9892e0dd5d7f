import { type FormOf, lowRankEverywhere, type RankOf } from '../adapters/module-form.js';
import type { TextEncoderConfig } from '../base/text-encoder-config.js';
import { createGraphBuilder, type Dim, type Graph, type Ops, type Value } from '../graph/index.js';
import { add, matmul, mul, reshape, slice } from '../graph/ops.js';
import { createNet, type Net } from './net.js';

/** What a text encoder is recorded for. */
export interface TextShape {
	readonly batch: number;
	/** At most `maxPositions`. */
	readonly tokens: number;
}

export interface TextOptions {
	readonly forms?: FormOf | undefined;
	readonly ranks?: RankOf | undefined;
	/** Learned tokens, where their number is known when the graph is recorded. */
	readonly added?: number | undefined;
	/** Before the names of the inputs, for a second text encoder in the same graph. */
	readonly prefix?: string | undefined;
}

/** Names of the inputs of the graph. */
export const TEXT_INPUTS = {
	/** (b, s) i32: ids of the vocabulary; an added token's is 0 */
	ids: 'input_ids',
	/** (b, s, 1): 0 where the token is an added one, else 1 */
	known: 'known_tokens',
	/** (b, s, added): 1 at an added token's row */
	addedTokens: 'added_tokens',
	/** (added, hidden): learned vectors; the trainer's to change */
	addedRows: 'added_rows',
	/** (b) i32: position of the token whose state is the pooled output */
	end: 'end_positions',
} as const;

/**
 * CLIPTextModel (transformers' models/clip/modeling_clip.py), causal, as a graph. Outputs: `last_hidden_state` (b, s, d)
 * after the final norm, `pooled` (b, d) at the end position, through the projection where there is one. Taps:
 * `hidden_states.N`, N = 0 for the embeddings; `normed_states.N`, the same after the final norm (clip skip).
 *
 * @param component `text_encoder`, `text_encoder_2`
 */
export function textEncoderGraph(component: string, config: TextEncoderConfig, shape: TextShape, options: TextOptions = {}): Graph {
	const ops = createGraphBuilder();
	ops.scope(component, () => {
		const { last, pooled } = recordTextEncoder(ops, component, config, shape, options);
		ops.output('last_hidden_state', last);
		ops.output('pooled', pooled);
	});
	return ops.graph();
}

/** The same into a graph that goes on: the trainer's. */
export function recordTextEncoder(
	ops: Ops,
	component: string,
	config: TextEncoderConfig,
	{ batch, tokens }: TextShape,
	options: TextOptions = {},
): { readonly last: Value; readonly pooled: Value; readonly hidden: readonly Value[]; readonly normed: readonly Value[] } {
	const net = createNet(ops, component, options.forms ?? lowRankEverywhere, options.ranks);
	const width = config.hiddenSize;
	const epsilon = config.layerNormEps;
	const norm = (x: Value): Value => net.layerNorm('text_model.final_layer_norm', x, epsilon);
	const { prefix = '' } = options;
	let x = embedTokens(net, config, batch, tokens, options.added ?? 'added', prefix);
	const hidden = [x];
	for (let n = 0; n < config.layers; n++) {
		x = encoderLayer(net, `text_model.encoder.layers.${n}`, x, config);
		hidden.push(x);
	}
	const normed = hidden.map((value, n) => {
		ops.tap(`hidden_states.${n}`, value);
		return ops.tap(`normed_states.${n}`, norm(value));
	});
	const last = normed.at(-1) ?? x;
	const end = ops.apply('oneHot', [ops.input(`${prefix}${TEXT_INPUTS.end}`, [batch], 'i32')], { depth: tokens });
	let pooled = reshape(ops, matmul(ops, reshape(ops, end, [batch, 1, tokens]), last), [batch, width]);
	if (config.withProjection) pooled = net.linear('text_projection', pooled, config.projectionDim, { bias: false });
	return { last, pooled, hidden, normed };
}

function embedTokens(net: Net, config: TextEncoderConfig, batch: number, tokens: number, count: Dim, prefix: string): Value {
	const { ops } = net;
	const input = (name: string, shape: readonly Dim[], dtype?: 'i32'): Value => ops.input(`${prefix}${name}`, shape, dtype);
	const width = config.hiddenSize;
	const path = 'text_model.embeddings';
	const table = net.weight(`${path}.token_embedding.weight`, [config.vocabSize, width]);
	const ids = input(TEXT_INPUTS.ids, [batch, tokens], 'i32');
	const known = mul(ops, ops.apply('gather', [table, ids], {}), input(TEXT_INPUTS.known, [batch, tokens, 1]));
	// A product, not a gather: its gradient is one too, and exists on every engine.
	const added = matmul(ops, input(TEXT_INPUTS.addedTokens, [batch, tokens, count]), input(TEXT_INPUTS.addedRows, [count, width]));
	const positions = net.weight(`${path}.position_embedding.weight`, [config.maxPositions, width]);
	return add(ops, add(ops, known, added), slice(ops, positions, 0, 0, tokens));
}

function encoderLayer(net: Net, path: string, x: Value, config: TextEncoderConfig): Value {
	const { ops } = net;
	const { hiddenSize, heads, layerNormEps, intermediateSize } = config;
	return net.module(path, () => {
		const normed = net.layerNorm(`${path}.layer_norm1`, x, layerNormEps);
		const [q, k, v] = ['q_proj', 'k_proj', 'v_proj'].map((name) => net.linear(`${path}.self_attn.${name}`, normed, hiddenSize));
		if (q === undefined || k === undefined || v === undefined) throw new TypeError('three projections');
		const scale = 1 / Math.sqrt(hiddenSize / heads);
		const mixed = ops.scope(`${path}.self_attn`, () => ops.apply('attention', [q, k, v], { heads, scale, causal: true, slices: 1 }));
		const one = add(ops, x, net.linear(`${path}.self_attn.out_proj`, mixed, hiddenSize));
		const inner = net.linear(`${path}.mlp.fc1`, net.layerNorm(`${path}.layer_norm2`, one, layerNormEps), intermediateSize);
		const active = ops.apply(config.act === 'gelu' ? 'gelu' : 'quickGelu', [inner], {});
		return add(ops, one, net.linear(`${path}.mlp.fc2`, active, hiddenSize));
	});
}
