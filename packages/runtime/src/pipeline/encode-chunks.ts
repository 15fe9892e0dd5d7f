import { FormatError } from '@lorakit/format';
import { f32Tensor, type HostTensor } from '../host-tensor.js';
import { chunkTokens, type TokenChunk } from '../tokenizer/chunk-tokens.js';
import type { PromptSegment } from '../tokenizer/prompt-weights.js';
import type { TextStates } from './encode-text.js';
import { type StableDiffusion, tokenizerOf } from './stable-diffusion.js';

/** A weighted prompt of any length through the text encoders. */
export interface ChunkedText {
	/** By text encoder: (1, 77 chunks, width), and the pooled states of the first chunk. */
	readonly texts: readonly TextStates[];
	/** By text encoder. */
	readonly ids: readonly Int32Array[];
	/** Of the text encoder that has most; all have as many states. */
	readonly chunks: number;
}

/**
 * Each chunk of 77 tokens goes through the text encoder by itself, its states are multiplied by the weights of its tokens
 * and by what brings their mean back, and the chunks are joined along the tokens (AUTOMATIC1111/stable-diffusion-webui
 * modules/sd_hijack_clip.py `forward`, modules/sd_emphasis.py `EmphasisOriginal`).
 * @throws {FormatError} `E_USAGE` when a text encoder has no tokenizer, `E_NONFINITE` for states whose mean is no number.
 */
export async function encodeChunks(
	model: StableDiffusion,
	segments: readonly PromptSegment[],
	clipSkip: number | undefined,
): Promise<ChunkedText> {
	const own = model.base.textEncoders.map((_, i) => tokenizerOf(model, i));
	const chunks = own.map((tokenizer) => chunkTokens(tokenizer, segments));
	const length = Math.max(...chunks.map((list) => list.length));
	for (const [i, list] of chunks.entries()) {
		const tokenizer = own[i];
		const [empty] = tokenizer === undefined ? [] : chunkTokens(tokenizer, []);
		while (empty !== undefined && list.length < length) list.push(empty);
	}
	return { texts: await statesOf(model, chunks, length, clipSkip), ids: chunks.map(idsOf), chunks: length };
}

/** Filled up with the states of empty chunks (modules/sd_samplers_cfg_denoiser.py `pad_cond`). */
export function paddedWith(empty: ChunkedText, text: ChunkedText, chunks: number): ChunkedText {
	const more = chunks - text.chunks;
	if (more <= 0) return text;
	return {
		texts: text.texts.map(({ states, pooled }, i) => ({
			states: alongTokens([states, ...new Array<HostTensor>(more).fill(empty.texts[i]?.states ?? states)]),
			pooled,
		})),
		ids: text.ids.map((ids, i) => Int32Array.from([...ids, ...new Array<readonly number[]>(more).fill([...(empty.ids[i] ?? [])]).flat()])),
		chunks,
	};
}

async function statesOf(
	model: StableDiffusion,
	chunks: readonly (readonly TokenChunk[])[],
	length: number,
	clipSkip: number | undefined,
): Promise<readonly TextStates[]> {
	const parts: TextStates[][] = chunks.map(() => []);
	for (let at = 0; at < length; at++) {
		const encoded = await model.encodeIds(
			chunks.map((list) => list[at]?.ids ?? new Int32Array()),
			clipSkip,
		);
		for (const [i, { states, pooled }] of encoded.entries()) {
			const weights = chunks[i]?.[at]?.weights;
			parts[i]?.push({ states: weights === undefined ? states : emphasised(states, weights), pooled });
		}
	}
	return parts.map((list) => {
		const [first] = list;
		if (first === undefined) throw new TypeError('a prompt without chunks');
		return { states: alongTokens(list.map(({ states }) => states)), pooled: first.pooled };
	});
}

/** States (1, tokens, width) times the weight of each token, with the mean that they had before. */
function emphasised(states: HostTensor, weights: Float32Array): HostTensor {
	if (weights.every((w) => w === 1)) return states;
	const width = states.shape.at(-1) ?? 0;
	const out = Float32Array.from(states.data, (x, i) => x * (weights[Math.floor(i / width)] ?? 1));
	const ratio = Math.fround(meanOf(states.data) / meanOf(out));
	if (!Number.isFinite(ratio)) {
		throw new FormatError(
			'E_NONFINITE',
			'The weights of the prompt leave text states whose mean is 0 or no number; use weights nearer to 1.',
		);
	}
	return f32Tensor(
		states.shape,
		out.map((x) => x * ratio),
	);
}

function meanOf(values: ArrayLike<number>): number {
	let sum = 0;
	for (let i = 0; i < values.length; i++) sum += values[i] ?? 0;
	return Math.fround(sum / values.length);
}

/** (1, a, width), (1, b, width), … one after the other. */
export function alongTokens(parts: readonly HostTensor[]): HostTensor {
	const width = parts[0]?.shape.at(-1) ?? 0;
	const out = new Float32Array(parts.reduce((sum, { data }) => sum + data.length, 0));
	let at = 0;
	for (const { data } of parts) {
		out.set(data, at);
		at += data.length;
	}
	return f32Tensor([1, out.length / width, width], out);
}

function idsOf(chunks: readonly TokenChunk[]): Int32Array {
	return Int32Array.from(chunks.flatMap(({ ids }) => [...ids]));
}
