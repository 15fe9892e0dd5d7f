import { type Grammar, grammar } from './grammar.js';

/** A text encoder's module path that was taken apart. */
export interface TextEncoderName {
	/** Dotted path in transformers' names, CLIP always with its `text_model.` level. */
	readonly path: string;
	readonly kind: 'clip' | 't5' | 'llm';
	/** True when the file left `text_model.` out, as transformers >= 5 names CLIPTextModel's modules (LAYOUTS.md §2.21). */
	readonly addedTextModel: boolean;
}

type Value = Pick<TextEncoderName, 'kind' | 'addedTextModel'>;

/** Below `text_model.` of CLIPTextModel. */
const CLIP: readonly string[] = [
	'embeddings.token_embedding',
	'embeddings.position_embedding',
	...['k_proj', 'v_proj', 'q_proj', 'out_proj'].map((leaf) => `encoder.layers.#.self_attn.${leaf}`),
	'encoder.layers.#.layer_norm1',
	'encoder.layers.#.mlp.fc1',
	'encoder.layers.#.mlp.fc2',
	'encoder.layers.#.layer_norm2',
	'final_layer_norm',
];

const T5: readonly string[] = [
	'shared',
	'encoder.embed_tokens',
	...['q', 'k', 'v', 'o', 'relative_attention_bias'].map((leaf) => `encoder.block.#.layer.#.SelfAttention.${leaf}`),
	...['wi', 'wi_0', 'wi_1', 'wo'].map((leaf) => `encoder.block.#.layer.#.DenseReluDense.${leaf}`),
	'encoder.block.#.layer.#.layer_norm',
	'encoder.final_layer_norm',
];

/** Below `model.` of the decoder models that newer pipelines use as text encoders (Gemma, Qwen, Llama). */
const LLM: readonly string[] = [
	'embed_tokens',
	...['q_proj', 'k_proj', 'v_proj', 'o_proj', 'q_norm', 'k_norm'].map((leaf) => `layers.#.self_attn.${leaf}`),
	...['gate_proj', 'up_proj', 'down_proj'].map((leaf) => `layers.#.mlp.${leaf}`),
	'layers.#.input_layernorm',
	'layers.#.post_attention_layernorm',
	'norm',
];

/** Every module template of the text encoders, in transformers' names. */
export function textEncoderTemplates(): string[] {
	return [...CLIP.map((leaf) => `text_model.${leaf}`), 'text_projection', ...T5, ...LLM.map((leaf) => `model.${leaf}`), ...LLM];
}

const GRAMMAR: Grammar<Value> = grammar(function* () {
	const clip: Value = { kind: 'clip', addedTextModel: false };
	for (const leaf of CLIP) yield [`text_model.${leaf}`, clip] as const;
	yield ['text_projection', clip] as const;
	for (const leaf of CLIP) yield [leaf, { kind: 'clip', addedTextModel: true }] as const;
	for (const leaf of T5) yield [leaf, { kind: 't5', addedTextModel: false }] as const;
	for (const leaf of LLM) {
		yield [`model.${leaf}`, { kind: 'llm', addedTextModel: false }] as const;
		yield [leaf, { kind: 'llm', addedTextModel: false }] as const;
	}
});

/** A flattened text encoder name (after `lora_te_`, `lora_te1_`, ...) as a dotted path; undefined when no template fits. */
export function unflattenTextEncoder(flat: string): TextEncoderName | undefined {
	return named(GRAMMAR.byFlat(flat)[0]);
}

/** The canonical form of a dotted path (adds a missing `text_model.`); undefined for a path that no text encoder has. */
export function canonicalTextEncoderPath(dotted: string): TextEncoderName | undefined {
	return named(GRAMMAR.byDotted(dotted)[0]);
}

function named(match: { readonly path: string; readonly value: Value } | undefined): TextEncoderName | undefined {
	if (match === undefined) return undefined;
	return { path: match.value.addedTextModel ? `text_model.${match.path}` : match.path, ...match.value };
}
