import { decodeFloats, type Embedding, FormatError, quote } from '@lorakit/format';
import type { TextEncoderConfig } from '../base/text-encoder-config.js';
import type { Placeholder } from '../tokenizer/index.js';
import type { AddedRows } from './encode-text.js';

/** Learned tokens as the tokenizer and the text encoders need them. */
export interface LearnedTokens {
	/** Placeholder tokens, in the order of their rows, and how many vectors each stands for. */
	readonly placeholders: readonly Placeholder[];
	/** By component: rows in the order of all vectors. */
	readonly rows: ReadonlyMap<string, AddedRows>;
}

export const NO_TOKENS: LearnedTokens = { placeholders: [], rows: new Map() };

/** More vectors for one token than a prompt has places make no sense. */
const MAX_VECTORS = 75;

/**
 * Embeddings of any number of files and adapters, joined. A token has the same number of vectors in every text encoder.
 * @throws {FormatError} `E_SHAPE` for vectors of another width than the text encoder's, `E_NAME_COLLISION` for a token
 *   that comes twice with other vectors, `E_BASE_MISMATCH` for one that lacks a text encoder's part, `E_LIMIT`, and those of reading.
 */
export async function learnTokens(embeddings: readonly Embedding[], encoders: readonly TextEncoderConfig[]): Promise<LearnedTokens> {
	const byToken = new Map<string, Map<string, Float64Array>>();
	for (const embedding of embeddings) {
		const encoder =
			encoders.find(({ component }) => component === embedding.component) ?? (encoders.length === 1 ? encoders[0] : undefined);
		const { shape, dtype } = embedding.vectors;
		if (encoder === undefined || shape.at(-1) !== encoder.hiddenSize) {
			throw new FormatError(
				'E_SHAPE',
				`The embedding ${quote(embedding.token)} has vectors of width ${shape.at(-1)} for ${embedding.component}; this base has ${encoders.map((e) => `${e.component} of width ${e.hiddenSize}`).join(' and ')}.`,
				{ at: embedding.token },
			);
		}
		const parts = byToken.get(embedding.token) ?? new Map<string, Float64Array>();
		byToken.set(embedding.token, parts);
		const vectors = shape.slice(0, -1).reduce((product, d) => product * d, 1);
		if (vectors > MAX_VECTORS) throw tooMany(embedding.token, vectors);
		const values = decodeFloats(dtype, await embedding.vectors.read());
		const before = parts.get(encoder.component);
		// Beside an adapter, inside it and named by the user it may be the same one.
		if (before !== undefined && !equal(before, values)) {
			throw new FormatError(
				'E_NAME_COLLISION',
				`The token ${quote(embedding.token)} is learned twice, with other vectors; give one of them another name with FILE=token.`,
				{
					at: embedding.token,
				},
			);
		}
		parts.set(encoder.component, values);
	}
	const placeholders: Placeholder[] = [];
	const rows = new Map<string, number[]>(encoders.map(({ component }) => [component, []]));
	for (const [token, parts] of byToken) {
		const counts = encoders.map(({ component, hiddenSize }) => (parts.get(component)?.length ?? 0) / hiddenSize);
		const count = counts[0] ?? 0;
		if (count < 1 || counts.some((n) => n !== count)) {
			throw new FormatError(
				'E_BASE_MISMATCH',
				`The token ${quote(token)} has ${counts.join(' and ')} vectors in the base's ${encoders.length} text encoders; it was learned for another base.`,
				{ at: token },
			);
		}
		placeholders.push({ token, vectors: count });
		for (const { component } of encoders) {
			const all = rows.get(component);
			for (const x of parts.get(component) ?? []) all?.push(x);
		}
	}
	const total = placeholders.reduce((sum, { vectors }) => sum + vectors, 0);
	return {
		placeholders,
		rows: new Map([...rows].map(([component, values]) => [component, { count: total, rows: Float32Array.from(values) }])),
	};
}

function equal(a: Float64Array, b: Float64Array): boolean {
	return a.length === b.length && a.every((x, i) => x === b[i]);
}

function tooMany(token: string, vectors: number): FormatError {
	return new FormatError('E_LIMIT', `The token ${quote(token)} has ${vectors} vectors; the limit is ${MAX_VECTORS}.`, { at: token });
}
