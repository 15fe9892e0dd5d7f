import type { VaeConfig } from '../base/vae-config.js';
import { f32Tensor, type HostTensor } from '../host-tensor.js';
import { vaeDecoderGraph, vaeEncoderGraph } from '../models/vae.js';
import type { Component } from './component-sessions.js';

/** A picture's distribution in latent space, before sampling and before the scaling factor. */
export interface LatentDistribution {
	/** (b, latent, h / 8, w / 8) */
	readonly mean: HostTensor;
	/** Clamped to [-30, 20] as DiagonalGaussianDistribution does. */
	readonly logvar: HostTensor;
}

/** Attention over more positions than this is done in slices, so that scores stay within some 270 MB. */
const SLICE_POSITIONS = 4096;

function slicesOf(positions: number): number {
	return Math.max(1, Math.ceil((positions / SLICE_POSITIONS) ** 2));
}

/** Pixels of a side for one of the latents: 8 for every published VAE. */
export function pixelsPerLatent({ blockOutChannels }: Pick<VaeConfig, 'blockOutChannels'>): number {
	return 2 ** (blockOutChannels.length - 1);
}

/** @param pixels (b, 3, h, w) in [-1, 1], sizes multiples of 8 */
export async function encodePixels(encoder: Component, config: VaeConfig, pixels: HostTensor): Promise<LatentDistribution> {
	const [batch = 1, , height = 0, width = 0] = pixels.shape;
	const down = pixelsPerLatent(config);
	const slices = slicesOf((height / down) * (width / down));
	const result = await encoder.run(
		`encode ${batch}x${height}x${width}`,
		(forms) => vaeEncoderGraph(config, { batch, height, width }, { forms, slices }),
		{ pixels },
	);
	const [mean, logvar] = [result['mean'], result['logvar']];
	if (mean === undefined || logvar === undefined) throw new TypeError('a VAE encoder without output');
	return {
		mean,
		logvar: f32Tensor(
			logvar.shape,
			Float32Array.from(logvar.data, (x) => Math.min(20, Math.max(-30, x))),
		),
	};
}

/** mean + exp(logvar / 2) noise, not yet times the scaling factor. */
export function sampleLatents({ mean, logvar }: LatentDistribution, noise: Float32Array): Float32Array {
	return Float32Array.from(mean.data, (m, i) => m + Math.fround(Math.fround(Math.exp(0.5 * (logvar.data[i] ?? 0))) * (noise[i] ?? 0)));
}

/**
 * Sampled latents as the UNet has them: (x - shift) * scaling factor in float32, what `decodeLatents` undoes. (Stable
 * Diffusion's VAEs have no shift; the rule is that of diffusers' pipelines for those that do.)
 */
export function scaleLatents(
	{ scalingFactor, shiftFactor = 0 }: Pick<VaeConfig, 'scalingFactor' | 'shiftFactor'>,
	sampled: Float32Array,
): Float32Array {
	const [factor, shift] = [Math.fround(scalingFactor), Math.fround(shiftFactor)];
	return sampled.map((x) => Math.fround(x - shift) * factor);
}

/** Latents (b, latent, h, w) as the UNet has them -> pixels (b, 3, 8 h, 8 w), about [-1, 1]. */
export async function decodeLatents(decoder: Component, config: VaeConfig, latents: HostTensor): Promise<HostTensor> {
	const [batch = 1, , height = 0, width = 0] = latents.shape;
	const shift = config.shiftFactor ?? 0;
	const unscaled = Float32Array.from(latents.data, (x) => Math.fround(x / config.scalingFactor) + shift);
	const result = await decoder.run(
		`decode ${batch}x${height}x${width}`,
		(forms) => vaeDecoderGraph(config, { batch, height, width }, { forms, slices: slicesOf(height * width) }),
		{ latents: f32Tensor(latents.shape, unscaled) },
	);
	const pixels = result['pixels'];
	if (pixels === undefined) throw new TypeError('a VAE decoder without output');
	return pixels;
}
