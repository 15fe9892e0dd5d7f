import * as v from 'valibot';
import { badValue, MAX_LAYERS, MAX_WIDTH, only, otherwise, parseConfig, positive, whole } from './config-schema.js';

export type TextEncoderComponent = 'text_encoder' | 'text_encoder_2';

/** A CLIPTextModel, or a CLIPTextModelWithProjection. */
export interface TextEncoderConfig {
	readonly component: TextEncoderComponent;
	readonly hiddenSize: number;
	readonly intermediateSize: number;
	readonly projectionDim: number;
	readonly layers: number;
	readonly heads: number;
	/** Tokens of one text, start and end among them. */
	readonly maxPositions: number;
	readonly act: 'quick_gelu' | 'gelu';
	readonly layerNormEps: number;
	readonly vocabSize: number;
	/**
	 * 2 is the historical wrong value: the pooled state is then taken at the position of the largest id, else at the
	 * first of this one. Source: transformers models/clip/modeling_clip.py CLIPTextTransformer.
	 */
	readonly eosTokenId: number;
	readonly bosTokenId: number;
	readonly padTokenId: number;
	/** Has `text_projection.weight` over the pooled state. */
	readonly withProjection: boolean;
}

const width = whole(1, MAX_WIDTH);
const token = whole(-1, MAX_WIDTH);

/** Source of the defaults: transformers models/clip/configuration_clip.py CLIPTextConfig. */
const ENTRIES = {
	model_type: only('clip_text_model'),
	vocab_size: otherwise(width, 49408),
	hidden_size: otherwise(width, 512),
	intermediate_size: otherwise(width, 2048),
	projection_dim: otherwise(width, 512),
	num_hidden_layers: otherwise(whole(1, MAX_LAYERS), 12),
	num_attention_heads: otherwise(width, 8),
	max_position_embeddings: otherwise(width, 77),
	hidden_act: otherwise(v.pipe(v.unknown(), v.picklist(['quick_gelu', 'gelu'])), 'quick_gelu'),
	layer_norm_eps: otherwise(positive(), 1e-5),
	pad_token_id: v.optional(v.nullable(token), 1),
	bos_token_id: v.optional(v.nullable(token), 49406),
	eos_token_id: otherwise(token, 49407),
};

/**
 * A `text_encoder/config.json`, with transformers' defaults for what it leaves out. transformers writes dozens of keys
 * for all its models; those that a CLIP text model does not read are passed over.
 *
 * @throws {FormatError} `E_CONFIG` for a value that this runtime does not compute, or that fits no other; `E_LIMIT`.
 */
export function parseTextEncoderConfig(
	json: unknown,
	component: TextEncoderComponent,
	withProjection: boolean,
	file: string = `${component}/config.json`,
): TextEncoderConfig {
	const raw = parseConfig(ENTRIES, json, file);
	if (raw.hidden_size % raw.num_attention_heads !== 0) {
		throw badValue(file, 'num_attention_heads', raw.num_attention_heads, `a number that divides hidden_size (${raw.hidden_size})`);
	}
	return {
		component,
		hiddenSize: raw.hidden_size,
		intermediateSize: raw.intermediate_size,
		projectionDim: raw.projection_dim,
		layers: raw.num_hidden_layers,
		heads: raw.num_attention_heads,
		maxPositions: raw.max_position_embeddings,
		act: raw.hidden_act,
		layerNormEps: raw.layer_norm_eps,
		vocabSize: raw.vocab_size,
		eosTokenId: raw.eos_token_id,
		bosTokenId: raw.bos_token_id ?? 49406,
		padTokenId: raw.pad_token_id ?? 1,
		withProjection,
	};
}
