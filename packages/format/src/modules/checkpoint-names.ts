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

/** OpenCLIP's names below `model.` and what transformers calls them; `qkv` is cut into three. */
const OPEN_CLIP = grammar<string>(() => [
	['token_embedding.weight', 'embeddings.token_embedding'],
	['positional_embedding', 'embeddings.position_embedding'],
	['transformer.resblocks.#.attn.in_proj_weight', 'qkv'],
	['transformer.resblocks.#.attn.out_proj.weight', 'self_attn.out_proj'],
	['transformer.resblocks.#.mlp.c_fc.weight', 'mlp.fc1'],
	['transformer.resblocks.#.mlp.c_proj.weight', 'mlp.fc2'],
	['transformer.resblocks.#.ln_1.weight', 'layer_norm1'],
	['transformer.resblocks.#.ln_2.weight', 'layer_norm2'],
	['ln_final.weight', 'final_layer_norm'],
	['text_projection', 'text_projection'],
]);
/** SD2 uses 23 of OpenCLIP-H's 24 layers; diffusers leaves the last one out. */
const UNUSED_SD2_LAYER = 23;

/** The module (or modules, for OpenCLIP's fused q, k, v) of one tensor in a single-file checkpoint; none when it is no weight we place. */
export function placeCheckpointTensor(name: string, shape: readonly number[]): readonly PlacedWeight[] {
	for (const [prefix, component, names] of PREFIXES) {
		if (!name.startsWith(prefix)) continue;
		const rest = name.slice(prefix.length);
		if (names === 'skip') return [];
		if (names === 'open-clip') return openClip(component, rest, shape, prefix === 'cond_stage_model.model.');
		const path = weightPath(rest);
		if (path === undefined) return [];
		if (names === 'hf') return placedText(component, path, shape);
		const unet = sgmToDiffusers(path);
		return [unet === undefined ? { component: 'transformer', path, shape } : { component, path: unet, shape }];
	}
	const path = weightPath(name);
	if (path === undefined) return [];
	if (isUnetPath(path)) return [{ component: 'unet', path, shape }];
	const sgm = sgmToDiffusers(path);
	if (sgm !== undefined) return [{ component: 'unet', path: sgm, shape }];
	const text = placedText('text_encoder', path, shape);
	if (text.length > 0) return text;
	return transformerDialect([path]) === undefined ? [] : [{ component: 'transformer', path, shape }];
}

/** The module path of a `.weight` (or Flux' `.scale`); undefined for biases and bare parameters. */
export function weightPath(name: string): string | undefined {
	for (const leaf of ['.weight', '.scale']) if (name.endsWith(leaf)) return name.slice(0, -leaf.length);
	return undefined;
}

function placedText(component: string, path: string, shape: readonly number[]): PlacedWeight[] {
	const known = canonicalTextEncoderPath(path);
	return known === undefined ? [] : [{ component, path: known.path, shape }];
}

function openClip(component: string, name: string, shape: readonly number[], sd2: boolean): PlacedWeight[] {
	const match = OPEN_CLIP.byDotted(name)[0];
	if (match === undefined) return [];
	const [layer] = match.indices;
	// OpenCLIP keeps the projection as a bare matrix, transposed.
	if (match.value === 'text_projection') return [{ component, path: 'text_projection', shape: [...shape].reverse() }];
	if (layer === undefined) return [{ component, path: `text_model.${match.value}`, shape }];
	if (sd2 && layer === UNUSED_SD2_LAYER) return [];
	const at = `text_model.encoder.layers.${layer}`;
	if (match.value !== 'qkv') return [{ component, path: `${at}.${match.value}`, shape }];
	const [rows = 0, columns = 0] = shape;
	return ['q_proj', 'k_proj', 'v_proj'].map((leaf) => ({ component, path: `${at}.self_attn.${leaf}`, shape: [rows / 3, columns] }));
}
