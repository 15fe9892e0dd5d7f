import { expect, test } from 'vitest';
import { canonicalTextEncoderPath, flattenPath, textEncoderTemplates, unflattenTextEncoder } from '../../src/modules/index.js';

test.each([
	['text_model_encoder_layers_0_self_attn_q_proj', 'text_model.encoder.layers.0.self_attn.q_proj', 'clip', false],
	['encoder_layers_11_self_attn_out_proj', 'text_model.encoder.layers.11.self_attn.out_proj', 'clip', true],
	['text_model_encoder_layers_31_mlp_fc2', 'text_model.encoder.layers.31.mlp.fc2', 'clip', false],
	['text_model_final_layer_norm', 'text_model.final_layer_norm', 'clip', false],
	['text_model_embeddings_token_embedding', 'text_model.embeddings.token_embedding', 'clip', false],
	['text_projection', 'text_projection', 'clip', false],
	['encoder_block_23_layer_0_SelfAttention_q', 'encoder.block.23.layer.0.SelfAttention.q', 't5', false],
	['encoder_block_3_layer_1_DenseReluDense_wi_1', 'encoder.block.3.layer.1.DenseReluDense.wi_1', 't5', false],
	['encoder_block_3_layer_1_DenseReluDense_wo', 'encoder.block.3.layer.1.DenseReluDense.wo', 't5', false],
	['layers_27_mlp_gate_proj', 'layers.27.mlp.gate_proj', 'llm', false],
	['model_layers_2_self_attn_o_proj', 'model.layers.2.self_attn.o_proj', 'llm', false],
])('%s', (flat, path, kind, addedTextModel) => {
	expect(unflattenTextEncoder(flat)).toEqual({ path, kind, addedTextModel });
});

test.each([
	['encoder.layers.0.self_attn.k_proj', 'text_model.encoder.layers.0.self_attn.k_proj'],
	['text_model.encoder.layers.0.self_attn.k_proj', 'text_model.encoder.layers.0.self_attn.k_proj'],
])('%s in its canonical form', (path, canonical) => {
	expect(canonicalTextEncoderPath(path)?.path).toBe(canonical);
});

test('every template comes back', () => {
	for (const template of textEncoderTemplates()) {
		const path = template.replaceAll('#', '17');
		expect(unflattenTextEncoder(flattenPath(path))?.path).toBe(path);
	}
});

test.each(['text_model_encoder_layers_0_self_attn', 'encoder_block_0_layer_1_DenseReluDense_wi_2', 'toString'])('%s is unknown', (flat) => {
	expect(unflattenTextEncoder(flat)).toBeUndefined();
});
