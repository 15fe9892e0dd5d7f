import type { BaseModule, UnetConfig } from './inventory.js';

/** A width that is `times` the sum of some named widths: `c0`..`c9` (block channels), `ctx`, `in`, `out`, `add`. */
export interface Width {
	readonly times: number;
	readonly of: readonly string[];
}

/** One module that holds a weight, with its widths by name, in the order of torch's `named_modules()`. */
export interface UnetModule {
	readonly path: string;
	readonly kind: BaseModule['kind'];
	readonly out: Width;
	/** Undefined for norms. */
	readonly in: Width | undefined;
	/** Kernel of a convolution; 0 for others. */
	readonly kernel: 0 | 1 | 3;
	/** Class names of its ancestors inside the UNet that an injector can name as targets. */
	readonly classes: readonly string[];
	/** There only when `in` and `out` differ (the shortcut of a ResnetBlock2D). */
	readonly onlyIfChanged: boolean;
}

/** Which modules there are, without their widths. */
export interface UnetStructure {
	/** Transformer depth of each down block; 0 without attention. */
	readonly downDepths: readonly number[];
	readonly midDepth: number;
	readonly upDepths: readonly number[];
	readonly layersPerBlock: number;
	readonly useLinearProjection: boolean;
	/** SDXL's add_embedding. */
	readonly addEmbedding: boolean;
}

/** The structure that a configuration describes. */
export function structureOf(config: UnetConfig): UnetStructure {
	const depth = (i: number): number => config.transformerLayersPerBlock[i] ?? 1;
	const n = config.blockOutChannels.length;
	return {
		downDepths: config.downBlockTypes.map((type, i) => (hasAttention(type) ? depth(i) : 0)),
		midDepth: depth(n - 1),
		upDepths: config.upBlockTypes.map((type, i) => (hasAttention(type) ? depth(n - 1 - i) : 0)),
		layersPerBlock: config.layersPerBlock,
		useLinearProjection: config.useLinearProjection,
		addEmbedding: config.projectionClassEmbeddingsInputDim !== undefined,
	};
}

/** True for diffusers' block classes with transformers (`CrossAttnDownBlock2D`, ...). */
export function hasAttention(blockType: string): boolean {
	return blockType.includes('CrossAttn');
}

const c = (i: number): string => `c${i}`;
const one = (...of: string[]): Width => ({ times: 1, of });

/**
 * Every Linear, Conv2d and norm of a UNet2DConditionModel in registration order: down, up, then mid (it is
 * assigned last); attentions before resnets. `old`: diffusers <= 0.14 registers attn1, ff, attn2 in a transformer
 * block, `new`: attn1, attn2, ff. Source: huggingface/diffusers v0.3 to v0.40 models/unet_2d_condition.py,
 * attention.py; measured in LAYOUTS.md §2.1.
 */
export function* unetModules(s: UnetStructure, order: 'old' | 'new'): Generator<UnetModule> {
	const last = s.downDepths.length - 1;
	const temb: Width = { times: 4, of: ['c0'] };
	yield conv('conv_in', one('c0'), one('in'), 3);
	yield linear('time_embedding.linear_1', temb, one('c0'));
	yield linear('time_embedding.linear_2', temb, temb);
	if (s.addEmbedding) {
		yield linear('add_embedding.linear_1', temb, one('add'));
		yield linear('add_embedding.linear_2', temb, temb);
	}
	for (const [i, depth] of s.downDepths.entries()) {
		const block = `down_blocks.${i}`;
		for (let j = 0; depth > 0 && j < s.layersPerBlock; j += 1) yield* transformer(`${block}.attentions.${j}`, c(i), depth, s, order);
		for (let j = 0; j < s.layersPerBlock; j += 1) {
			yield* resnet(`${block}.resnets.${j}`, one(c(i)), one(j === 0 ? c(Math.max(i - 1, 0)) : c(i)), temb);
		}
		if (i < last) yield conv(`${block}.downsamplers.0.conv`, one(c(i)), one(c(i)), 3, ['Downsample2D']);
	}
	for (const [i, depth] of s.upDepths.entries()) {
		const block = `up_blocks.${i}`;
		const own = c(last - i);
		const below = c(Math.min(last - i + 1, last));
		const skip = c(Math.max(last - i - 1, 0));
		for (let j = 0; depth > 0 && j <= s.layersPerBlock; j += 1) yield* transformer(`${block}.attentions.${j}`, own, depth, s, order);
		for (let j = 0; j <= s.layersPerBlock; j += 1) {
			yield* resnet(`${block}.resnets.${j}`, one(own), one(j === 0 ? below : own, j === s.layersPerBlock ? skip : own), temb);
		}
		if (i < last) yield conv(`${block}.upsamplers.0.conv`, one(own), one(own), 3, ['Upsample2D']);
	}
	if (s.midDepth > 0) yield* transformer('mid_block.attentions.0', c(last), s.midDepth, s, order);
	for (const j of [0, 1]) yield* resnet(`mid_block.resnets.${j}`, one(c(last)), one(c(last)), temb);
	yield norm('conv_norm_out', one('c0'));
	yield conv('conv_out', one('out'), one('c0'), 3);
}

function* transformer(path: string, channel: string, depth: number, s: UnetStructure, order: 'old' | 'new'): Generator<UnetModule> {
	const classes = ['Transformer2DModel'];
	const width = one(channel);
	const proj = (leaf: string): UnetModule =>
		s.useLinearProjection ? linear(`${path}.${leaf}`, width, width, classes) : conv(`${path}.${leaf}`, width, width, 1, classes);
	yield norm(`${path}.norm`, width, classes);
	yield proj('proj_in');
	const inside = [...classes, 'BasicTransformerBlock'];
	for (let d = 0; d < depth; d += 1) {
		const block = `${path}.transformer_blocks.${d}`;
		const norm1 = norm(`${block}.norm1`, width, inside);
		const norm2 = norm(`${block}.norm2`, width, inside);
		const norm3 = norm(`${block}.norm3`, width, inside);
		const attn1 = attention(`${block}.attn1`, width, width, inside, order);
		const attn2 = attention(`${block}.attn2`, width, one('ctx'), inside, order);
		const ff = [
			linear(`${block}.ff.net.0.proj`, { times: 8, of: [channel] }, width, [...inside, 'FeedForward', 'GEGLU']),
			linear(`${block}.ff.net.2`, width, { times: 4, of: [channel] }, [...inside, 'FeedForward']),
		];
		if (order === 'new') yield* [norm1, ...attn1, norm2, ...attn2, norm3, ...ff];
		else yield* [...attn1, ...ff, ...attn2, norm1, norm2, norm3];
	}
	yield proj('proj_out');
}

function attention(path: string, width: Width, context: Width, inside: readonly string[], order: 'old' | 'new'): UnetModule[] {
	const classes = [...inside, order === 'new' ? 'Attention' : 'CrossAttention'];
	return [
		linear(`${path}.to_q`, width, width, classes),
		linear(`${path}.to_k`, width, context, classes),
		linear(`${path}.to_v`, width, context, classes),
		linear(`${path}.to_out.0`, width, width, classes),
	];
}

function* resnet(path: string, out: Width, inn: Width, temb: Width): Generator<UnetModule> {
	const classes = ['ResnetBlock2D'];
	yield norm(`${path}.norm1`, inn, classes);
	yield conv(`${path}.conv1`, out, inn, 3, classes);
	yield linear(`${path}.time_emb_proj`, out, temb, classes);
	yield norm(`${path}.norm2`, out, classes);
	yield conv(`${path}.conv2`, out, out, 3, classes);
	yield { ...conv(`${path}.conv_shortcut`, out, inn, 1, classes), onlyIfChanged: true };
}

function linear(path: string, out: Width, inn: Width, classes: readonly string[] = []): UnetModule {
	return { path, kind: 'linear', out, in: inn, kernel: 0, classes, onlyIfChanged: false };
}

function conv(path: string, out: Width, inn: Width, kernel: 1 | 3, classes: readonly string[] = []): UnetModule {
	return { path, kind: 'conv2d', out, in: inn, kernel, classes, onlyIfChanged: false };
}

function norm(path: string, out: Width, classes: readonly string[] = []): UnetModule {
	return { path, kind: 'norm', out, in: undefined, kernel: 0, classes, onlyIfChanged: false };
}
