import { grammar } from './grammar.js';
import { sgmToDiffusers } from './sgm-names.js';
import { canonicalTextEncoderPath } from './text-encoder-templates.js';
import { transformerDialect } from './transformer-names.js';
import { isUnetPath } from './unet-templates.js';

/** Where one tensor of a checkpoint belongs: component, diffusers' module path, shape of the weight. */
export interface PlacedWeight {
	readonly component: string;
	readonly path: string;
	readonly shape: readonly number[];
}

/** What of a module a tensor is. `modulation`: the bare table of a Wan block. */
export type TensorLeaf = 'weight' | 'bias' | 'modulation';

/** One module's share of a stored tensor. */
export interface PlacedTensor extends PlacedWeight {
	readonly leaf: TensorLeaf;
	/** Rows [from, to) of the stored tensor's first axis; undefined for all of it. */
	readonly rows: readonly [from: number, to: number] | undefined;
	/** True when the file holds the matrix as (in, out); `shape` is (out, in). */
	readonly transposed: boolean;
}

/** Prefixes of single-file checkpoints; `open-clip` names are turned into transformers' ones. */
const PREFIXES: readonly (readonly [prefix: string, component: string, names: 'ldm' | 'hf' | 'open-clip' | 'skip'])[] = [
	['model.diffusion_model.', 'unet', 'ldm'],
	['cond_stage_model.transformer.', 'text_encoder', 'hf'],
	['cond_stage_model.model.', 'text_encoder', 'open-clip'],
	['conditioner.embedders.0.transformer.', 'text_encoder', 'hf'],
	// The refiner has only the large encoder, which diffusers calls the second everywhere.
	['conditioner.embedders.0.model.', 'text_encoder_2', 'open-clip'],
	['conditioner.embedders.1.model.', 'text_encoder_2', 'open-clip'],
	['text_encoders.clip_l.transformer.', 'text_encoder', 'hf'],
	['text_encoders.clip_g.transformer.', 'text_encoder_2', 'hf'],
	['text_encoders.t5xxl.transformer.', 'text_encoder_3', 'hf'],
	['first_stage_model.', 'vae', 'skip'],
];

/** OpenCLIP's names below `model.`, without their leaf, and what transformers calls them; `qkv` is cut into three. */
const OPEN_CLIP = grammar<string>(() => [
	['token_embedding', 'embeddings.token_embedding'],
	['positional_embedding', 'embeddings.position_embedding'],
	['transformer.resblocks.#.attn.in_proj', 'qkv'],
	['transformer.resblocks.#.attn.out_proj', 'self_attn.out_proj'],
	['transformer.resblocks.#.mlp.c_fc', 'mlp.fc1'],
	['transformer.resblocks.#.mlp.c_proj', 'mlp.fc2'],
	['transformer.resblocks.#.ln_1', 'layer_norm1'],
	['transformer.resblocks.#.ln_2', 'layer_norm2'],
	['ln_final', 'final_layer_norm'],
	['text_projection', 'text_projection'],
]);
/** Parameters of OpenCLIP that have no leaf of their own. */
const BARE: ReadonlySet<string> = new Set(['positional_embedding', 'text_projection']);
/** SD2 uses 23 of OpenCLIP-H's 24 layers; diffusers leaves the last one out. */
const UNUSED_SD2_LAYER = 23;

/** The module (or modules, for OpenCLIP's fused q, k, v) whose weight one tensor of a single-file checkpoint is; none when it is no weight we place. */
export function placeCheckpointTensor(name: string, shape: readonly number[]): readonly PlacedWeight[] {
	return placeTensor(name, shape).filter((p) => p.leaf === 'weight');
}

/** The same for weights, biases and modulation tables, with which rows of the stored tensor are the module's. */
export function placeTensor(name: string, shape: readonly number[]): readonly PlacedTensor[] {
	for (const [prefix, component, names] of PREFIXES) {
		if (!name.startsWith(prefix)) continue;
		const rest = name.slice(prefix.length);
		if (names === 'skip') return [];
		if (names === 'open-clip') return openClip(component, rest, shape, prefix === 'cond_stage_model.model.');
		const split = splitLeaf(rest);
		if (split === undefined) return [];
		if (names === 'hf') return placedText(component, split, shape);
		const unet = sgmToDiffusers(split.path);
		return [whole(unet === undefined ? 'transformer' : component, unet ?? split.path, split.leaf, shape)];
	}
	const split = splitLeaf(name);
	if (split === undefined) return [];
	const { path, leaf } = split;
	if (isUnetPath(path)) return [whole('unet', path, leaf, shape)];
	const sgm = sgmToDiffusers(path);
	if (sgm !== undefined) return [whole('unet', sgm, leaf, shape)];
	const text = placedText('text_encoder', split, shape);
	if (text.length > 0) return text;
	return transformerDialect([path]) === undefined ? [] : [whole('transformer', path, leaf, shape)];
}

/** A tensor's name taken apart. */
export interface LeafSplit {
	readonly path: string;
	readonly leaf: TensorLeaf;
}

const LEAVES: readonly (readonly [suffix: string, leaf: TensorLeaf])[] = [
	['.weight', 'weight'],
	// Flux' RMS norms.
	['.scale', 'weight'],
	['.bias', 'bias'],
	// Wan's own name and diffusers'.
	['.modulation', 'modulation'],
	['.scale_shift_table', 'modulation'],
];

/** Module path and leaf of a tensor's name; undefined for parameters that belong to no module's weight or bias. */
export function splitLeaf(name: string): LeafSplit | undefined {
	for (const [suffix, leaf] of LEAVES) {
		if (name.length > suffix.length && name.endsWith(suffix)) return { path: name.slice(0, -suffix.length), leaf };
	}
	return undefined;
}

/** The module path of a `.weight` (or Flux' `.scale`); undefined for biases and bare parameters. */
export function weightPath(name: string): string | undefined {
	const split = splitLeaf(name);
	return split?.leaf === 'weight' ? split.path : undefined;
}

function whole(component: string, path: string, leaf: TensorLeaf, shape: readonly number[]): PlacedTensor {
	return { component, path, leaf, shape, rows: undefined, transposed: false };
}

function placedText(component: string, { path, leaf }: LeafSplit, shape: readonly number[]): PlacedTensor[] {
	const known = canonicalTextEncoderPath(path);
	return known === undefined ? [] : [whole(component, known.path, leaf, shape)];
}

function openClip(component: string, name: string, shape: readonly number[], sd2: boolean): PlacedTensor[] {
	const split = BARE.has(name) ? { path: name, leaf: 'weight' as const } : (inProjection(name) ?? splitLeaf(name));
	const match = split === undefined ? undefined : OPEN_CLIP.byDotted(split.path)[0];
	if (split === undefined || match === undefined) return [];
	const { leaf } = split;
	const [layer] = match.indices;
	// OpenCLIP keeps the projection as a bare matrix, transposed.
	if (match.value === 'text_projection') return [{ ...whole(component, 'text_projection', leaf, [...shape].reverse()), transposed: true }];
	if (layer === undefined) return [whole(component, `text_model.${match.value}`, leaf, shape)];
	if (sd2 && layer === UNUSED_SD2_LAYER) return [];
	const at = `text_model.encoder.layers.${layer}`;
	if (match.value !== 'qkv') return [whole(component, `${at}.${match.value}`, leaf, shape)];
	const [rows = 0, ...rest] = shape;
	const height = rows / 3;
	return ['q_proj', 'k_proj', 'v_proj'].map((part, n) => ({
		...whole(component, `${at}.self_attn.${part}`, leaf, [height, ...rest]),
		rows: [n * height, (n + 1) * height] as const,
	}));
}

/** `attn.in_proj_weight` and `attn.in_proj_bias`: torch's MultiheadAttention joins them with an underscore. */
function inProjection(name: string): LeafSplit | undefined {
	if (name.endsWith('.in_proj_weight')) return { path: name.slice(0, -'_weight'.length), leaf: 'weight' };
	return name.endsWith('.in_proj_bias') ? { path: name.slice(0, -'_bias'.length), leaf: 'bias' } : undefined;
}
