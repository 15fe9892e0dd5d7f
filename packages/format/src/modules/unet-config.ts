import { FormatError } from '../errors.js';
import type { BaseModule, UnetConfig } from './inventory.js';

const CROSS_DOWN = 'CrossAttnDownBlock2D';
const CROSS_UP = 'CrossAttnUpBlock2D';
/** Blocks and layers of the largest UNet we follow, times a margin: what a config may make us enumerate. */
const MAX_BLOCKS = 16;
const MAX_DEPTH = 64;

/** runwayml/stable-diffusion-v1-5. */
export const SD1_UNET: UnetConfig = {
	blockOutChannels: [320, 640, 1280, 1280],
	layersPerBlock: 2,
	downBlockTypes: [CROSS_DOWN, CROSS_DOWN, CROSS_DOWN, 'DownBlock2D'],
	upBlockTypes: ['UpBlock2D', CROSS_UP, CROSS_UP, CROSS_UP],
	transformerLayersPerBlock: [1, 1, 1, 1],
	crossAttentionDim: 768,
	useLinearProjection: false,
	projectionClassEmbeddingsInputDim: undefined,
	inChannels: 4,
	outChannels: 4,
};

/** stabilityai/stable-diffusion-2-1. */
export const SD2_UNET: UnetConfig = { ...SD1_UNET, crossAttentionDim: 1024, useLinearProjection: true };

/** stabilityai/stable-diffusion-xl-base-1.0. */
export const SDXL_UNET: UnetConfig = {
	blockOutChannels: [320, 640, 1280],
	layersPerBlock: 2,
	downBlockTypes: ['DownBlock2D', CROSS_DOWN, CROSS_DOWN],
	upBlockTypes: [CROSS_UP, CROSS_UP, 'UpBlock2D'],
	transformerLayersPerBlock: [1, 2, 10],
	crossAttentionDim: 2048,
	useLinearProjection: true,
	projectionClassEmbeddingsInputDim: 2816,
	inChannels: 4,
	outChannels: 4,
};

/**
 * The numbers of a `unet/config.json` (already parsed) that decide its modules. Absent fields have diffusers'
 * defaults; per-block fields may be a list or one number.
 * @throws {FormatError} `E_CONFIG` when a field is of the wrong kind or the lists do not fit together.
 */
export function parseUnetConfig(json: unknown): UnetConfig {
	if (typeof json !== 'object' || json === null || Array.isArray(json)) throw bad('it is no object');
	const fields = new Map<string, unknown>(Object.entries(json));
	const down = strings(fields, 'down_block_types', SD1_UNET.downBlockTypes);
	const n = down.length;
	const up = strings(fields, 'up_block_types', SD1_UNET.upBlockTypes);
	const channels = perBlock(fields, 'block_out_channels', n, SD1_UNET.blockOutChannels);
	if (up.length !== n || channels.length !== n)
		throw bad(`${n} down blocks, ${up.length} up blocks and ${channels.length} channels do not fit together`);
	const layers = perBlock(fields, 'layers_per_block', n, [2]);
	const [layersPerBlock = 2] = layers;
	if (layers.some((l) => l !== layersPerBlock)) throw bad('layers_per_block differs between blocks, which is not supported');
	const depths = perBlock(fields, 'transformer_layers_per_block', n, [1]);
	const context = perBlock(fields, 'cross_attention_dim', n, [1280]);
	const add = fields.get('projection_class_embeddings_input_dim');
	if (layersPerBlock > MAX_DEPTH || depths.some((d) => d > MAX_DEPTH)) throw bad(`more than ${MAX_DEPTH} layers in a block`);
	return {
		blockOutChannels: channels,
		layersPerBlock,
		downBlockTypes: down,
		upBlockTypes: up,
		transformerLayersPerBlock: depths,
		crossAttentionDim: context[0] ?? 1280,
		useLinearProjection: fields.get('use_linear_projection') === true,
		projectionClassEmbeddingsInputDim: isWidth(add) && fields.get('addition_embed_type') !== null ? add : undefined,
		inChannels: perBlock(fields, 'in_channels', 1, [4])[0] ?? 4,
		outChannels: perBlock(fields, 'out_channels', 1, [4])[0] ?? 4,
	};
}

/** The configuration that the modules of a UNet (diffusers' names, any order) have; undefined when they are no such UNet. */
export function inferUnetConfig(modules: readonly BaseModule[]): UnetConfig | undefined {
	const shapes = new Map(modules.map((m) => [m.path, m.shape]));
	const channels: number[] = [];
	const depths: number[] = [];
	const down: string[] = [];
	const up: string[] = [];
	for (let i = 0; i < MAX_BLOCKS; i += 1) {
		const out = shapes.get(`down_blocks.${i}.resnets.0.conv1`)?.[0];
		if (out === undefined) break;
		channels.push(out);
		const depth = depthOf(shapes, `down_blocks.${i}.attentions.0`);
		depths.push(Math.max(depth, 1));
		down.push(depth > 0 ? CROSS_DOWN : 'DownBlock2D');
		up.push(shapes.has(`up_blocks.${i}.attentions.0.proj_in`) ? CROSS_UP : 'UpBlock2D');
	}
	const n = channels.length;
	if (n === 0) return undefined;
	const mid = depthOf(shapes, 'mid_block.attentions.0');
	if (down[n - 1] === 'DownBlock2D' && mid > 0) depths[n - 1] = mid;
	let layersPerBlock = 0;
	while (layersPerBlock < MAX_DEPTH && shapes.has(`down_blocks.0.resnets.${layersPerBlock}.conv1`)) layersPerBlock += 1;
	const context = modules.find((m) => m.path.endsWith('.attn2.to_k'))?.shape[1];
	const conv1 = shapes.get('conv_in');
	return {
		blockOutChannels: channels,
		layersPerBlock,
		downBlockTypes: down,
		upBlockTypes: up,
		transformerLayersPerBlock: depths,
		crossAttentionDim: context ?? 1280,
		useLinearProjection: modules.find((m) => m.path.endsWith('.proj_in'))?.shape.length === 2,
		projectionClassEmbeddingsInputDim: shapes.get('add_embedding.linear_1')?.[1],
		inChannels: conv1?.[1] ?? 4,
		outChannels: shapes.get('conv_out')?.[0] ?? 4,
	};
}

function depthOf(shapes: ReadonlyMap<string, unknown>, attention: string): number {
	let depth = 0;
	while (depth < MAX_DEPTH && shapes.has(`${attention}.transformer_blocks.${depth}.attn1.to_q`)) depth += 1;
	return depth;
}

function strings(fields: ReadonlyMap<string, unknown>, key: string, otherwise: readonly string[]): readonly string[] {
	const value = fields.get(key);
	if (value === undefined || value === null) return otherwise;
	if (Array.isArray(value) && value.length > 0 && value.length <= MAX_BLOCKS && value.every((v) => typeof v === 'string'))
		return value as string[];
	throw bad(`${key} is no list of 1 to ${MAX_BLOCKS} names`);
}

function perBlock(fields: ReadonlyMap<string, unknown>, key: string, n: number, otherwise: readonly number[]): readonly number[] {
	const value = fields.get(key);
	if (value === undefined || value === null) return otherwise.length === 1 ? new Array<number>(n).fill(otherwise[0] ?? 0) : otherwise;
	if (isWidth(value)) return new Array<number>(n).fill(value);
	if (Array.isArray(value) && value.length === n && value.every(isWidth)) return value as number[];
	throw bad(`${key} is neither a positive number nor a list of ${n} of them`);
}

function isWidth(value: unknown): value is number {
	return typeof value === 'number' && Number.isSafeInteger(value) && value > 0 && value <= 1 << 24;
}

function bad(why: string): FormatError {
	return new FormatError('E_CONFIG', `The UNet's config.json cannot be used: ${why}.`);
}
