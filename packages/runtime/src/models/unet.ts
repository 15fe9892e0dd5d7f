import { type FormOf, lowRankEverywhere, type RankOf } from '../adapters/module-form.js';
import type { UnetConfig } from '../base/unet-config.js';
import { createGraphBuilder, type Graph, type Ops, type Value } from '../graph/index.js';
import { add, concat, scalar, scaleBy, silu, sizeOf, sub } from '../graph/ops.js';
import { type AttentionProcessor, fusedAttention } from './attention.js';
import { createNet, type Net } from './net.js';
import { downsample, resnetBlock, upsample } from './resnet-block.js';
import { transformer2d } from './transformer.js';

/** What a UNet is recorded for. */
export interface UNetShape {
	readonly batch: number;
	/** Of the latents: pixels / 8. */
	readonly height: number;
	readonly width: number;
	/** Tokens of the text states: 77, or more chunks of it. */
	readonly tokens: number;
}

export interface UNetOptions {
	readonly forms?: FormOf | undefined;
	readonly ranks?: RankOf | undefined;
	readonly processor?: AttentionProcessor | undefined;
	/** What the text encoder recorded into the same graph gives; left out: an input. */
	readonly states?: Value | undefined;
	/** SDXL: pooled states and the features of time ids, where the graph has made them; left out: an input. */
	readonly added?: Value | undefined;
}

/** Names of the inputs of the graph. */
export const UNET_INPUTS = {
	/** (b, in, h, w), scaled for the model */
	sample: 'sample',
	/** (b, block_out_channels[0]), see `timestepFeatures` */
	time: 'time_features',
	/** (b, tokens, cross_attention_dim) */
	states: 'encoder_hidden_states',
	/** SDXL: (b, projection_class_embeddings_input_dim), pooled text states and the features of the time ids */
	added: 'added_features',
	/** LCM: (b, time_cond_proj_dim) */
	condition: 'timestep_cond',
} as const;

/** UNet2DConditionModel (diffusers' models/unets/unet_2d_condition.py) as a graph with the output `sample` (b, out, h, w). */
export function unetGraph(config: UnetConfig, shape: UNetShape, options: UNetOptions = {}): Graph {
	const ops = createGraphBuilder();
	ops.scope('unet', () => ops.output('sample', recordUNet(ops, config, shape, options)));
	return ops.graph();
}

/** The same into a graph that goes on: the trainer's. */
export function recordUNet(ops: Ops, config: UnetConfig, { batch, height, width, tokens }: UNetShape, options: UNetOptions = {}): Value {
	const net = createNet(ops, 'unet', options.forms ?? lowRankEverywhere, options.ranks);
	const channels = config.blockOutChannels;
	const [first = 0] = channels;
	const { normNumGroups: groups, normEps: epsilon } = config;
	const states = options.states ?? ops.input(UNET_INPUTS.states, [batch, tokens, config.crossAttentionDim]);
	const sample = ops.input(UNET_INPUTS.sample, [batch, config.inChannels, height, width]);
	const time = embedTime(net, config, batch, options.added);
	const processor = options.processor ?? fusedAttention();

	const resnet = (path: string, x: Value, out: number): Value => resnetBlock(net, path, x, { out, groups, epsilon, time });
	const attend = (path: string, x: Value, block: number, layers: number): Value =>
		transformer2d(net, path, x, {
			heads: config.heads[block] ?? 1,
			layers,
			groups,
			linearProjection: config.useLinearProjection,
			states,
			processor,
		});

	const from = config.centerInputSample ? sub(ops, scaleBy(ops, sample, 2), scalar(ops, 1)) : sample;
	let x = net.conv('conv_in', from, first, { kernel: 3 });
	const skips: Value[] = [x];
	const last = channels.length - 1;
	for (const [i, out] of channels.entries()) {
		const path = `down_blocks.${i}`;
		for (let n = 0; n < (config.layersPerBlock[i] ?? 0); n++) {
			x = resnet(`${path}.resnets.${n}`, x, out);
			if (config.downBlockTypes[i] === 'CrossAttnDownBlock2D') {
				x = attend(`${path}.attentions.${n}`, x, i, config.transformerLayersPerBlock[i]?.[n] ?? 1);
			}
			skips.push(x);
		}
		if (i < last) {
			x = downsample(net, `${path}.downsamplers.0`, x, [1, 1, 1, 1]);
			skips.push(x);
		}
		net.module(path, () => x);
	}

	x = net.module('mid_block', () => {
		const out = channels[last] ?? 0;
		if (config.midBlockType === undefined) return x;
		const y = resnet('mid_block.resnets.0', x, out);
		if (config.midBlockType === 'UNetMidBlock2D') return y;
		return resnet('mid_block.resnets.1', attend('mid_block.attentions.0', y, last, config.midTransformerLayers), out);
	});

	for (let i = 0; i <= last; i++) {
		const path = `up_blocks.${i}`;
		const mirror = last - i;
		const out = channels[mirror] ?? 0;
		for (let n = 0; n <= (config.layersPerBlock[mirror] ?? 0); n++) {
			const skip = skips.pop();
			if (skip === undefined) throw new TypeError('a skip connection is missing');
			x = resnet(`${path}.resnets.${n}`, concat(ops, 1, x, skip), out);
			if (config.upBlockTypes[i] === 'CrossAttnUpBlock2D') {
				x = attend(`${path}.attentions.${n}`, x, mirror, config.reverseTransformerLayersPerBlock[i]?.[n] ?? 1);
			}
		}
		const next = skips.at(-1);
		if (i < last && next !== undefined) x = upsample(net, `${path}.upsamplers.0`, x, sizeOf(next, 2), sizeOf(next, 3));
		net.module(path, () => x);
	}

	const normed = silu(ops, net.groupNorm('conv_norm_out', x, groups, epsilon));
	return net.conv('conv_out', normed, config.outChannels, { kernel: 3 });
}

/** (b, 4 * block_out_channels[0]): the timestep, and what SDXL and LCM add to it. */
function embedTime(net: Net, config: UnetConfig, batch: number, given: Value | undefined): Value {
	const { ops } = net;
	const [first = 0] = config.blockOutChannels;
	const width = 4 * first;
	let features = ops.tap('unet.time_proj', ops.input(UNET_INPUTS.time, [batch, first]));
	return net.module('time_embedding', () => {
		if (config.timeCondProjDim !== undefined) {
			const condition = ops.input(UNET_INPUTS.condition, [batch, config.timeCondProjDim]);
			features = add(ops, features, net.linear('time_embedding.cond_proj', condition, first, { bias: false }));
		}
		const time = embed(net, 'time_embedding', features, width);
		if (config.additionEmbedType === undefined) return time;
		const added = given ?? ops.input(UNET_INPUTS.added, [batch, config.projectionClassEmbeddingsInputDim ?? 0]);
		return add(ops, time, embed(net, 'add_embedding', added, width));
	});
}

function embed(net: Net, path: string, x: Value, width: number): Value {
	return net.linear(`${path}.linear_2`, silu(net.ops, net.linear(`${path}.linear_1`, x, width)), width);
}
