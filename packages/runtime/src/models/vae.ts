import { type FormOf, plainEverywhere } from '../adapters/module-form.js';
import type { VaeConfig } from '../base/vae-config.js';
import { createGraphBuilder, type Graph, type Value } from '../graph/index.js';
import { add, reshape, silu, sizeOf, slice, transpose } from '../graph/ops.js';
import { attention, fusedAttention } from './attention.js';
import { createNet, type Net } from './net.js';
import { downsample, resnetBlock, upsample } from './resnet-block.js';

/** Every norm of AutoencoderKL (diffusers' models/autoencoders/vae.py). */
const EPSILON = 1e-6;

export interface VaeShape {
	readonly batch: number;
	/** Of the graph's input: pixels for the encoder, latents for the decoder. */
	readonly height: number;
	readonly width: number;
}

export interface VaeOptions {
	readonly forms?: FormOf | undefined;
	/** Rows of the one attention layer are done in so many pieces. */
	readonly slices?: number | undefined;
}

/** `pixels` (b, 3, h, w) in [-1, 1] -> `mean` and `logvar` (b, latent, h / 8, w / 8), before sampling and scaling. */
export function vaeEncoderGraph(config: VaeConfig, { batch, height, width }: VaeShape, options: VaeOptions = {}): Graph {
	const ops = createGraphBuilder();
	const net = createNet(ops, 'vae', options.forms ?? plainEverywhere);
	ops.scope('vae', () => {
		const channels = config.blockOutChannels;
		const groups = config.normNumGroups;
		let x = ops.input('pixels', [batch, config.inChannels, height, width]);
		x = net.conv('encoder.conv_in', x, channels[0] ?? 0, { kernel: 3 });
		for (const [i, out] of channels.entries()) {
			const path = `encoder.down_blocks.${i}`;
			for (let n = 0; n < config.layersPerBlock; n++) x = resnetBlock(net, `${path}.resnets.${n}`, x, { out, groups, epsilon: EPSILON });
			// One row below and one column on the right: diffusers pads (0, 1, 0, 1) before a convolution without padding.
			if (i < channels.length - 1) x = downsample(net, `${path}.downsamplers.0`, x, [0, 1, 0, 1]);
			net.module(path, () => x);
		}
		x = middle(net, 'encoder.mid_block', x, config, options.slices);
		x = silu(ops, net.groupNorm('encoder.conv_norm_out', x, groups, EPSILON));
		const moments = 2 * config.latentChannels;
		x = net.conv('encoder.conv_out', x, moments, { kernel: 3 });
		if (config.useQuantConv) x = net.conv('quant_conv', x, moments, { kernel: 1 });
		ops.output('mean', slice(ops, x, 1, 0, config.latentChannels));
		// DiagonalGaussianDistribution clamps it to [-30, 20]; the host does (`sampleLatents`).
		ops.output('logvar', slice(ops, x, 1, config.latentChannels, moments));
	});
	return ops.graph();
}

/** `latents` (b, latent, h, w), already divided by the scaling factor -> `pixels` (b, 3, 8 h, 8 w), about [-1, 1]. */
export function vaeDecoderGraph(config: VaeConfig, { batch, height, width }: VaeShape, options: VaeOptions = {}): Graph {
	const ops = createGraphBuilder();
	const net = createNet(ops, 'vae', options.forms ?? plainEverywhere);
	ops.scope('vae', () => {
		const channels = config.blockOutChannels.toReversed();
		const groups = config.normNumGroups;
		let x = ops.input('latents', [batch, config.latentChannels, height, width]);
		if (config.usePostQuantConv) x = net.conv('post_quant_conv', x, config.latentChannels, { kernel: 1 });
		x = net.conv('decoder.conv_in', x, channels[0] ?? 0, { kernel: 3 });
		x = middle(net, 'decoder.mid_block', x, config, options.slices);
		for (const [i, out] of channels.entries()) {
			const path = `decoder.up_blocks.${i}`;
			for (let n = 0; n <= config.layersPerBlock; n++) x = resnetBlock(net, `${path}.resnets.${n}`, x, { out, groups, epsilon: EPSILON });
			if (i < channels.length - 1) x = upsample(net, `${path}.upsamplers.0`, x, 2 * sizeOf(x, 2), 2 * sizeOf(x, 3));
			net.module(path, () => x);
		}
		x = silu(ops, net.groupNorm('decoder.conv_norm_out', x, groups, EPSILON));
		ops.output('pixels', net.conv('decoder.conv_out', x, config.outChannels, { kernel: 3 }));
	});
	return ops.graph();
}

function middle(net: Net, path: string, x: Value, config: VaeConfig, slices: number | undefined): Value {
	const out = sizeOf(x, 1);
	const options = { out, groups: config.normNumGroups, epsilon: EPSILON };
	return net.module(path, () => {
		let y = resnetBlock(net, `${path}.resnets.0`, x, options);
		if (config.midBlockAddAttention) y = pictureAttention(net, `${path}.attentions.0`, y, config.normNumGroups, slices);
		return resnetBlock(net, `${path}.resnets.1`, y, options);
	});
}

/** Self-attention over pixels with one head, behind a group norm, added. */
function pictureAttention(net: Net, path: string, x: Value, groups: number, slices: number | undefined): Value {
	const { ops } = net;
	const [b, c, h, w] = [sizeOf(x, 0), sizeOf(x, 1), sizeOf(x, 2), sizeOf(x, 3)];
	const normed = net.groupNorm(`${path}.group_norm`, x, groups, EPSILON);
	const rows = reshape(ops, transpose(ops, normed, 0, 2, 3, 1), [b, h * w, c]);
	const mixed = attention(net, path, rows, undefined, { heads: 1, bias: true, processor: fusedAttention(slices) });
	return add(ops, x, transpose(ops, reshape(ops, mixed, [b, h, w, c]), 0, 3, 1, 2));
}
