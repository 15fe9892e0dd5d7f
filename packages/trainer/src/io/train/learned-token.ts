import { FormatError, quote } from '@lorakit/format';
import { type Base, type ClipTokenizer, readWeight, requireWeight, type TextEncoderConfig } from '@lorakit/runtime';
import type { TrainableTensor } from '../../model/trainable-tensor.js';
import { TOKEN_ROWS, TOKEN_ROWS_2, tokenRows } from '../../model/trainable-tensors.js';
import type { TokenConfig } from '../../run/config/run-config.js';

/** The new token, ready to be learned. */
export interface LearnedToken {
	/** Know the token; one for each text encoder. */
	readonly tokenizers: readonly ClipTokenizer[];
	/** Its vectors in each text encoder, as many in each. */
	readonly rows: readonly TrainableTensor[];
}

/** Rows of all tokens. */
const TABLE = 'text_model.embeddings.token_embedding.weight';
/** Inputs of the training graph, by text encoder. */
const ROWS = { text_encoder: TOKEN_ROWS, text_encoder_2: TOKEN_ROWS_2 } as const;

/**
 * Add the token to the tokenizers, and begin its rows as that of the initializer, every vector alike, in each text encoder, as diffusers does
 * (examples/textual_inversion/textual_inversion.py, textual_inversion_sdxl.py).
 * @throws {FormatError} `E_CONFIG` when the initializer is no single token, or a tokenizer is not its text encoder's; `E_USAGE` for a token that is
 *   there already; those of reading the row
 */
export async function learnedToken(base: Base, tokenizers: readonly ClipTokenizer[], config: TokenConfig): Promise<LearnedToken> {
	const learned: ClipTokenizer[] = [];
	const rows: TrainableTensor[] = [];
	for (const [i, encoder] of base.textEncoders.entries()) {
		const tokenizer = tokenizers[i];
		if (tokenizer === undefined) throw new TypeError('a text encoder without a tokenizer');
		learned.push(tokenizer.addTokens([{ token: config.placeholder_token, vectors: config.num_vectors }]));
		rows.push(await rowsOf(base, encoder, tokenizer, config));
	}
	return { tokenizers: learned, rows };
}

async function rowsOf(base: Base, encoder: TextEncoderConfig, tokenizer: ClipTokenizer, config: TokenConfig): Promise<TrainableTensor> {
	const { initializer_token: word, num_vectors: vectors } = config;
	const { component, hiddenSize } = encoder;
	if (tokenizer.size !== encoder.vocabSize) {
		throw new FormatError(
			'E_CONFIG',
			`The tokenizer of ${component} has ${tokenizer.size} tokens and ${component} ${encoder.vocabSize}; a learned token needs as many of both: name the tokenizer of this base.`,
		);
	}
	const ids = tokenizer.tokenize(word);
	const [id] = ids;
	if (ids.length !== 1 || id === undefined) {
		throw new FormatError(
			'E_CONFIG',
			`token.initializer_token ${quote(word)} is ${ids.length} tokens to this tokenizer; take one common word, such as "toy" or "painting".`,
			{ at: 'token.initializer_token' },
		);
	}
	const table = await readWeight(requireWeight(base.weights, component, TABLE, [encoder.vocabSize, hiddenSize]));
	const row = table.subarray(id * hiddenSize, (id + 1) * hiddenSize);
	const values = new Float32Array(vectors * hiddenSize);
	for (let i = 0; i < vectors; i++) values.set(row, i * hiddenSize);
	return tokenRows(values, vectors, ROWS[component]);
}

/** diffusers' sentences for pictures without captions (examples/textual_inversion/textual_inversion.py). */
const OBJECT = [
	'a photo of a {}',
	'a rendering of a {}',
	'a cropped photo of the {}',
	'the photo of a {}',
	'a photo of a clean {}',
	'a photo of a dirty {}',
	'a dark photo of the {}',
	'a photo of my {}',
	'a photo of the cool {}',
	'a close-up photo of a {}',
	'a bright photo of the {}',
	'a cropped photo of a {}',
	'a photo of the {}',
	'a good photo of the {}',
	'a photo of one {}',
	'a close-up photo of the {}',
	'a rendition of the {}',
	'a photo of the clean {}',
	'a rendition of a {}',
	'a photo of a nice {}',
	'a good photo of a {}',
	'a photo of the nice {}',
	'a photo of the small {}',
	'a photo of the weird {}',
	'a photo of the large {}',
	'a photo of a cool {}',
	'a photo of a small {}',
];
const STYLE = [
	'a painting in the style of {}',
	'a rendering in the style of {}',
	'a cropped painting in the style of {}',
	'the painting in the style of {}',
	'a clean painting in the style of {}',
	'a dirty painting in the style of {}',
	'a dark painting in the style of {}',
	'a picture in the style of {}',
	'a cool painting in the style of {}',
	'a close-up painting in the style of {}',
	'a bright painting in the style of {}',
	'a cropped painting in the style of {}',
	'a good painting in the style of {}',
	'a close-up painting in the style of {}',
	'a rendition in the style of {}',
	'a nice painting in the style of {}',
	'a small painting in the style of {}',
	'a weird painting in the style of {}',
	'a large painting in the style of {}',
];

/** The captions of a picture that has none: every template with the token in it. @throws {FormatError} `E_CONFIG` for a template without {} */
export function templateCaptions({ placeholder_token: token, learnable_property: property, templates }: TokenConfig): readonly string[] {
	return (templates ?? (property === 'object' ? OBJECT : STYLE)).map((template) => {
		if (template.includes('{}')) return template.replaceAll('{}', () => token);
		throw new FormatError('E_CONFIG', `token.templates: ${quote(template)} has no {} where the token goes.`, { at: 'token.templates' });
	});
}
