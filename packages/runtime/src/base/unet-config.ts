import * as v from 'valibot';
import {
	badValue,
	type Field,
	flag,
	MAX_BLOCKS,
	MAX_LAYERS,
	MAX_TRANSFORMER_BLOCKS,
	MAX_WIDTH,
	names,
	nullable,
	oneOrList,
	only,
	onlyOrList,
	otherwise,
	parseConfig,
	positive,
	unknownKeys,
	whole,
} from './config-schema.js';

const DOWN_BLOCKS = ['CrossAttnDownBlock2D', 'DownBlock2D'] as const;
const UP_BLOCKS = ['CrossAttnUpBlock2D', 'UpBlock2D'] as const;
const MID_BLOCKS = ['UNetMidBlock2DCrossAttn', 'UNetMidBlock2D'] as const;

export type DownBlockType = (typeof DOWN_BLOCKS)[number];
export type UpBlockType = (typeof UP_BLOCKS)[number];
/** `UNetMidBlock2D` has one resnet and no attention here; undefined: no mid block at all. */
export type MidBlockType = (typeof MID_BLOCKS)[number] | undefined;

/**
 * A UNet2DConditionModel: what decides its layers and its numbers. Lists have one entry for each down block, from the
 * largest picture to the smallest; up blocks go the other way.
 */
export interface UnetConfig {
	readonly inChannels: number;
	readonly outChannels: number;
	/** Height and width of the latents it was trained on; undefined when the config does not say. */
	readonly sampleSize: readonly [number, number] | undefined;
	readonly centerInputSample: boolean;
	readonly blockOutChannels: readonly number[];
	/** Resnets of each down block; the up block of the same size has one more. */
	readonly layersPerBlock: readonly number[];
	readonly downBlockTypes: readonly DownBlockType[];
	readonly midBlockType: MidBlockType;
	readonly upBlockTypes: readonly UpBlockType[];
	/** Attention heads of each down block; the last also of the mid block. (The config calls it `attention_head_dim`.) */
	readonly heads: readonly number[];
	/** Channels of one head: block channels / heads; 0 where the block has no attention and the division leaves a rest. */
	readonly headDim: readonly number[];
	readonly crossAttentionDim: number;
	/** proj_in and proj_out are linear over (tokens, channels), not 1x1 convolutions. */
	readonly useLinearProjection: boolean;
	/** Transformer blocks of each attention of each down block. Also there for blocks without attention. */
	readonly transformerLayersPerBlock: readonly (readonly number[])[];
	readonly midTransformerLayers: number;
	/** The same for up blocks, in their order. */
	readonly reverseTransformerLayersPerBlock: readonly (readonly number[])[];
	readonly normNumGroups: number;
	/** Of resnets and conv_norm_out. (The norm before a transformer has 1e-6: diffusers Transformer2DModel.) */
	readonly normEps: number;
	readonly actFn: 'silu';
	readonly flipSinToCos: boolean;
	readonly freqShift: number;
	readonly additionEmbedType: 'text_time' | undefined;
	readonly additionTimeEmbedDim: number | undefined;
	readonly projectionClassEmbeddingsInputDim: number | undefined;
	/** Attention scores in float32; the same thing where everything is. */
	readonly upcastAttention: boolean;
	/** Width of the guidance embedding of LCM students; undefined for all others. */
	readonly timeCondProjDim: number | undefined;
	readonly resnetTimeScaleShift: 'default';
}

const width = whole(1, MAX_WIDTH);
const layers = whole(1, MAX_LAYERS);
const depth = whole(0, MAX_LAYERS);
/** A depth for a block, or one for each attention of it (SSD-1B). */
const depths: Field<number | number[] | (number | number[])[]> = oneOrList(oneOrList(depth));

/** Every key that diffusers 0.40 gives a UNet2DConditionModel, with its default. Source: diffusers models/unets/unet_2d_condition.py. */
const ENTRIES = {
	_class_name: only('UNet2DConditionModel'),
	sample_size: nullable(oneOrList(width)),
	in_channels: otherwise(width, 4),
	out_channels: otherwise(width, 4),
	center_input_sample: flag(false),
	flip_sin_to_cos: otherwise(v.pipe(v.unknown(), v.boolean()), true),
	freq_shift: otherwise(whole(-1, 1), 0),
	down_block_types: otherwise(names(DOWN_BLOCKS), [DOWN_BLOCKS[0], DOWN_BLOCKS[0], DOWN_BLOCKS[0], DOWN_BLOCKS[1]]),
	mid_block_type: v.optional(v.nullable(v.picklist(MID_BLOCKS)), MID_BLOCKS[0]),
	up_block_types: otherwise(names(UP_BLOCKS), [UP_BLOCKS[1], UP_BLOCKS[0], UP_BLOCKS[0], UP_BLOCKS[0]]),
	only_cross_attention: onlyOrList(false, null),
	block_out_channels: otherwise(v.pipe(v.unknown(), v.array(width), v.minLength(1), v.maxLength(MAX_BLOCKS)), [320, 640, 1280, 1280]),
	layers_per_block: otherwise(oneOrList(layers), 2),
	downsample_padding: only(1),
	mid_block_scale_factor: only(1),
	// Nothing is dropped in inference.
	dropout: v.optional(v.unknown()),
	act_fn: only('silu', 'swish'),
	norm_num_groups: otherwise(width, 32),
	norm_eps: otherwise(positive(), 1e-5),
	cross_attention_dim: otherwise(oneOrList(width), 1280),
	transformer_layers_per_block: otherwise(depths, 1),
	reverse_transformer_layers_per_block: nullable(depths),
	encoder_hid_dim: only(null),
	encoder_hid_dim_type: only(null),
	attention_head_dim: otherwise(oneOrList(width), 8),
	// diffusers itself refuses it, because of the misnomer.
	num_attention_heads: only(null),
	dual_cross_attention: only(false, null),
	use_linear_projection: flag(false),
	class_embed_type: only(null),
	addition_embed_type: only(null, 'text_time'),
	addition_time_embed_dim: nullable(width),
	num_class_embeds: only(null),
	upcast_attention: flag(false),
	resnet_time_scale_shift: only('default'),
	resnet_skip_time_act: only(false, null),
	resnet_out_scale_factor: only(1),
	time_embedding_type: only('positional'),
	time_embedding_dim: nullable(width),
	time_embedding_act_fn: only(null),
	timestep_post_act: only(null),
	time_cond_proj_dim: nullable(width),
	conv_in_kernel: only(3),
	conv_out_kernel: only(3),
	projection_class_embeddings_input_dim: nullable(width),
	attention_type: only('default'),
	class_embeddings_concat: only(false, null),
	mid_block_only_cross_attention: only(false, null),
	cross_attention_norm: only(null),
	// Only read with the embeddings that are refused above.
	addition_embed_type_num_heads: v.optional(v.unknown()),
};

/** A parsed file and the keys in it that mean nothing to us (nor to diffusers 0.40). */
export interface ParsedConfig<T> {
	readonly config: T;
	readonly unknown: readonly string[];
}

/**
 * A `unet/config.json`, with diffusers' defaults for what it leaves out.
 *
 * @param file for messages
 * @throws {FormatError} `E_CONFIG` for a value that this runtime does not compute, or that fits no other; `E_LIMIT`.
 */
export function parseUnetConfig(json: unknown, file = 'unet/config.json'): ParsedConfig<UnetConfig> {
	const raw = parseConfig(ENTRIES, json, file);
	const channels = raw.block_out_channels;
	const n = channels.length;
	for (const key of ['down_block_types', 'up_block_types'] as const) {
		if (raw[key].length !== n) throw badValue(file, key, raw[key], `${n} names, as many as block_out_channels has numbers`);
	}
	const perBlock = <T>(key: string, value: T | T[]): readonly T[] => {
		if (!Array.isArray(value)) return new Array<T>(n).fill(value);
		if (value.length !== n) throw badValue(file, key, value, `one number, or ${n} of them`);
		return value;
	};
	const layersPerBlock = perBlock('layers_per_block', raw.layers_per_block);
	const heads = perBlock('attention_head_dim', raw.attention_head_dim);
	const contexts = perBlock('cross_attention_dim', raw.cross_attention_dim);
	const crossAttentionDim = contexts[0] ?? 1280;
	if (contexts.some((c) => c !== crossAttentionDim)) {
		throw badValue(file, 'cross_attention_dim', raw.cross_attention_dim, 'the same width in all blocks');
	}
	const hasAttention = raw.down_block_types.map((type, i) => type === DOWN_BLOCKS[0] || raw.up_block_types[n - 1 - i] === UP_BLOCKS[0]);
	if (raw.mid_block_type === MID_BLOCKS[0]) hasAttention[n - 1] = true;
	const headDim = channels.map((c, i) => {
		const dim = c / (heads[i] ?? 1);
		if (Number.isInteger(dim)) return dim;
		if (hasAttention[i] !== true) return 0;
		throw badValue(
			file,
			'attention_head_dim',
			raw.attention_head_dim,
			`numbers of heads that divide the channels (${channels.join(', ')})`,
		);
	});
	for (const c of channels) {
		if (c % raw.norm_num_groups !== 0) {
			throw badValue(file, 'norm_num_groups', raw.norm_num_groups, `a number that divides the channels (${channels.join(', ')})`);
		}
	}
	// Sines and cosines are halves of it.
	if ((channels[0] ?? 0) % 2 !== 0) throw badValue(file, 'block_out_channels', channels, 'an even number of channels in the first block');
	if (raw.time_embedding_dim !== undefined && raw.time_embedding_dim !== 4 * (channels[0] ?? 0)) {
		throw badValue(file, 'time_embedding_dim', raw.time_embedding_dim, 'null, or four times the channels of the first block');
	}
	const textTime = raw.addition_embed_type === 'text_time';
	for (const key of ['addition_time_embed_dim', 'projection_class_embeddings_input_dim'] as const) {
		if (textTime && raw[key] === undefined) throw badValue(file, key, undefined, 'a width, because addition_embed_type is "text_time"');
	}
	const down = perBlock<number | number[]>('transformer_layers_per_block', raw.transformer_layers_per_block);
	if (raw.reverse_transformer_layers_per_block === undefined && down.some((d) => Array.isArray(d))) {
		throw badValue(
			file,
			'reverse_transformer_layers_per_block',
			null,
			'a list, because transformer_layers_per_block differs inside a block',
		);
	}
	const up =
		raw.reverse_transformer_layers_per_block === undefined
			? [...down].reverse()
			: perBlock<number | number[]>('reverse_transformer_layers_per_block', raw.reverse_transformer_layers_per_block);
	const perLayer = (key: string, value: number | number[], count: number): readonly number[] => {
		if (!Array.isArray(value)) return new Array<number>(count).fill(value);
		if (value.length < count) throw badValue(file, key, value, `one number, or ${count} of them for this block`);
		return value.slice(0, count);
	};
	const last = down[n - 1] ?? 1;
	const midTransformerLayers = Array.isArray(last) ? (last[0] ?? 1) : last;
	const transformerLayersPerBlock = down.map((d, i) => perLayer('transformer_layers_per_block', d, layersPerBlock[i] ?? 0));
	const reverseTransformerLayersPerBlock = up.map((d, i) =>
		perLayer('reverse_transformer_layers_per_block', d, (layersPerBlock[n - 1 - i] ?? 0) + 1),
	);
	const depthInAll = [...transformerLayersPerBlock, ...reverseTransformerLayersPerBlock]
		.flat()
		.reduce((sum, d) => sum + d, midTransformerLayers);
	if (depthInAll > MAX_TRANSFORMER_BLOCKS) {
		const expected = `at most ${MAX_TRANSFORMER_BLOCKS} transformer blocks in all (${depthInAll} here)`;
		throw badValue(file, 'transformer_layers_per_block', raw.transformer_layers_per_block, expected, true);
	}
	const size = raw.sample_size;
	return {
		config: {
			inChannels: raw.in_channels,
			outChannels: raw.out_channels,
			sampleSize: size === undefined ? undefined : sizeOf(size, file),
			centerInputSample: raw.center_input_sample,
			blockOutChannels: channels,
			layersPerBlock,
			downBlockTypes: raw.down_block_types,
			midBlockType: raw.mid_block_type ?? undefined,
			upBlockTypes: raw.up_block_types,
			heads,
			headDim,
			crossAttentionDim,
			useLinearProjection: raw.use_linear_projection,
			transformerLayersPerBlock,
			midTransformerLayers,
			reverseTransformerLayersPerBlock,
			normNumGroups: raw.norm_num_groups,
			normEps: raw.norm_eps,
			actFn: 'silu',
			flipSinToCos: raw.flip_sin_to_cos,
			freqShift: raw.freq_shift,
			additionEmbedType: textTime ? 'text_time' : undefined,
			additionTimeEmbedDim: textTime ? raw.addition_time_embed_dim : undefined,
			projectionClassEmbeddingsInputDim: textTime ? raw.projection_class_embeddings_input_dim : undefined,
			upcastAttention: raw.upcast_attention,
			timeCondProjDim: raw.time_cond_proj_dim,
			resnetTimeScaleShift: 'default',
		},
		unknown: unknownKeys(ENTRIES, json),
	};
}

function sizeOf(size: number | number[], file: string): readonly [number, number] {
	if (!Array.isArray(size)) return [size, size];
	const [height, width] = size;
	if (size.length !== 2 || height === undefined || width === undefined)
		throw badValue(file, 'sample_size', size, 'one number, or height and width');
	return [height, width];
}
