import * as v from 'valibot';
import {
	badValue,
	flag,
	MAX_BLOCKS,
	MAX_LAYERS,
	MAX_WIDTH,
	names,
	nullable,
	oneOrList,
	only,
	otherwise,
	parseConfig,
	positive,
	real,
	unknownKeys,
	whole,
} from './config-schema.js';
import type { ParsedConfig } from './unet-config.js';

/** An AutoencoderKL. Encoder blocks go from the largest picture to the smallest, decoder blocks the other way. */
export interface VaeConfig {
	readonly inChannels: number;
	readonly outChannels: number;
	readonly blockOutChannels: readonly number[];
	/** Resnets of each encoder block; a decoder block has one more. */
	readonly layersPerBlock: number;
	readonly latentChannels: number;
	readonly normNumGroups: number;
	readonly actFn: 'silu';
	/** Picture size it was trained on, in pixels. */
	readonly sampleSize: number;
	/** latents for the UNet = latents of the encoder x scalingFactor. */
	readonly scalingFactor: number;
	/** Subtracted before scaling; undefined in all of SD's. */
	readonly shiftFactor: number | undefined;
	readonly useQuantConv: boolean;
	readonly usePostQuantConv: boolean;
	readonly midBlockAddAttention: boolean;
	/** Numbers too large for float16: diffusers' pipelines of SDXL run it in float32 whatever the rest runs in. */
	readonly forceUpcast: boolean;
}

const width = whole(1, MAX_WIDTH);

/** Every key of diffusers 0.40's AutoencoderKL, with its default. Source: diffusers models/autoencoders/autoencoder_kl.py. */
const ENTRIES = {
	_class_name: only('AutoencoderKL'),
	in_channels: otherwise(width, 3),
	out_channels: otherwise(width, 3),
	down_block_types: otherwise(names(['DownEncoderBlock2D']), ['DownEncoderBlock2D']),
	up_block_types: otherwise(names(['UpDecoderBlock2D']), ['UpDecoderBlock2D']),
	block_out_channels: otherwise(v.pipe(v.unknown(), v.array(width), v.minLength(1), v.maxLength(MAX_BLOCKS)), [64]),
	layers_per_block: otherwise(whole(1, MAX_LAYERS), 1),
	act_fn: only('silu', 'swish'),
	latent_channels: otherwise(width, 4),
	norm_num_groups: otherwise(width, 32),
	sample_size: otherwise(oneOrList(width), 32),
	scaling_factor: otherwise(positive(), 0.18215),
	shift_factor: nullable(real()),
	latents_mean: only(null),
	latents_std: only(null),
	force_upcast: flag(true),
	use_quant_conv: flag(true),
	use_post_quant_conv: flag(true),
	mid_block_add_attention: flag(true),
};

/**
 * A `vae/config.json`, with diffusers' defaults for what it leaves out.
 *
 * @throws {FormatError} `E_CONFIG` for a value that this runtime does not compute, or that fits no other; `E_LIMIT`.
 */
export function parseVaeConfig(json: unknown, file = 'vae/config.json'): ParsedConfig<VaeConfig> {
	const raw = parseConfig(ENTRIES, json, file);
	const channels = raw.block_out_channels;
	for (const key of ['down_block_types', 'up_block_types'] as const) {
		if (raw[key].length !== channels.length) {
			throw badValue(file, key, raw[key], `${channels.length} names, as many as block_out_channels has numbers`);
		}
	}
	if (channels.some((c) => c % raw.norm_num_groups !== 0)) {
		throw badValue(file, 'norm_num_groups', raw.norm_num_groups, `a number that divides the channels (${channels.join(', ')})`);
	}
	return {
		config: {
			inChannels: raw.in_channels,
			outChannels: raw.out_channels,
			blockOutChannels: channels,
			layersPerBlock: raw.layers_per_block,
			latentChannels: raw.latent_channels,
			normNumGroups: raw.norm_num_groups,
			actFn: 'silu',
			sampleSize: Array.isArray(raw.sample_size) ? (raw.sample_size[0] ?? 32) : raw.sample_size,
			scalingFactor: raw.scaling_factor,
			shiftFactor: raw.shift_factor,
			useQuantConv: raw.use_quant_conv,
			usePostQuantConv: raw.use_post_quant_conv,
			midBlockAddAttention: raw.mid_block_add_attention,
			forceUpcast: raw.force_upcast,
		},
		unknown: unknownKeys(ENTRIES, json),
	};
}
