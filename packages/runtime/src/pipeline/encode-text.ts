import { FormatError } from '@lorakit/format';
import type { TextEncoderConfig } from '../base/text-encoder-config.js';
import { f32Tensor, type HostTensor, i32Tensor } from '../host-tensor.js';
import { TEXT_INPUTS, textEncoderGraph } from '../models/clip-text.js';
import type { Component } from './component-sessions.js';

/** Learned vectors that stand behind the vocabulary: id `vocabSize + i` is row i. */
export interface AddedRows {
	readonly count: number;
	/** (count, hidden) */
	readonly rows: Float32Array;
}

/** What a text encoder gives. */
export interface TextStates {
	/** (batch, tokens, hidden) */
	readonly states: HostTensor;
	/** (batch, hidden or projection) */
	readonly pooled: HostTensor;
}

export interface EncodeTextOptions {
	/** Layers to leave out at the end; the final norm is applied as diffusers' `clip_skip` does. */
	readonly clipSkip?: number | undefined;
	/** SDXL: the states before the last layer, without the final norm. */
	readonly penultimate?: boolean | undefined;
	readonly added?: AddedRows | undefined;
}

/**
 * Token ids (batch, tokens) through a text encoder.
 * @throws {FormatError} `E_USAGE` for an id that is neither in the vocabulary nor an added row, or a clip skip that leaves
 *   no layer.
 */
export async function encodeText(
	component: Component,
	name: string,
	config: TextEncoderConfig,
	ids: Int32Array,
	batch: number,
	options: EncodeTextOptions = {},
): Promise<TextStates> {
	const tokens = ids.length / batch;
	const skip = options.clipSkip ?? 0;
	const last = options.penultimate === true ? config.layers - 1 : config.layers;
	const layer = last - skip;
	if (!Number.isInteger(skip) || skip < 0 || layer < 1) {
		throw new FormatError('E_USAGE', `Clip skip ${skip} leaves no layer of the text encoder's ${config.layers}; use 0 to ${last - 1}.`);
	}
	const tapOf = (n: number): string => (options.penultimate === true ? `hidden_states.${n}` : `normed_states.${n}`);
	const tap = tapOf(layer);
	const key = `${batch}x${tokens}`;
	const result = await component.run(
		key,
		(forms) => textEncoderGraph(name, config, { batch, tokens }, { forms }),
		textFeeds(config, ids, batch, options.added),
		// The negative leaves no layer out: both come from one session.
		skip === 0 ? [tap] : [tap, tapOf(last)],
	);
	const [states, pooled] = [result[tap], result['pooled']];
	if (states === undefined || pooled === undefined) throw new TypeError('a text encoder without output');
	return { states, pooled };
}

/** The inputs of `textEncoderGraph` for ids. @throws {FormatError} `E_USAGE`. */
export function textFeeds(config: TextEncoderConfig, ids: Int32Array, batch: number, added?: AddedRows): Record<string, HostTensor> {
	const tokens = ids.length / batch;
	const count = added?.count ?? 0;
	const known = new Float32Array(ids.length).fill(1);
	const oneHot = new Float32Array(ids.length * count);
	const plain = Int32Array.from(ids);
	for (const [i, id] of ids.entries()) {
		if (id < 0 || id >= config.vocabSize + count) {
			throw new FormatError(
				'E_USAGE',
				`Token id ${id} is outside the vocabulary of ${config.vocabSize} and ${count} added tokens; the tokenizer belongs to another model.`,
			);
		}
		if (id < config.vocabSize) continue;
		known[i] = 0;
		plain[i] = 0;
		oneHot[i * count + id - config.vocabSize] = 1;
	}
	const ends = Int32Array.from({ length: batch }, (_, row) =>
		endPosition(ids.subarray(row * tokens, (row + 1) * tokens), config.eosTokenId),
	);
	return {
		[TEXT_INPUTS.ids]: i32Tensor([batch, tokens], plain),
		[TEXT_INPUTS.known]: f32Tensor([batch, tokens, 1], known),
		[TEXT_INPUTS.addedTokens]: f32Tensor([batch, tokens, count], oneHot),
		[TEXT_INPUTS.addedRows]: f32Tensor([count, config.hiddenSize], added?.rows ?? new Float32Array(0)),
		[TEXT_INPUTS.end]: i32Tensor([batch], ends),
	};
}

/**
 * Where the pooled output is taken: the first end-of-text token; or, where the configuration says the historical wrong
 * id 2, the largest id of the row (transformers' modeling_clip.py).
 */
function endPosition(row: Int32Array, eosTokenId: number): number {
	if (eosTokenId === 2) return row.reduce((best, id, i) => (id > (row[best] ?? 0) ? i : best), 0);
	return Math.max(0, row.indexOf(eosTokenId));
}

/** What SDXL takes for a negative that is not given. */
export function zeroStates({ states, pooled }: TextStates): TextStates {
	const zero = ({ shape, data }: HostTensor): HostTensor => f32Tensor(shape, new Float32Array(data.length));
	return { states: zero(states), pooled: zero(pooled) };
}
