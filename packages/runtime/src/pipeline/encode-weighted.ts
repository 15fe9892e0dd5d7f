import { FormatError } from '@lorakit/format';
import { f32Tensor, type HostTensor } from '../host-tensor.js';
import { chunkTokens, type TokenChunk } from '../tokenizer/chunk-tokens.js';
import type { PromptSegment } from '../tokenizer/prompt-weights.js';
import { type TextStates, zeroStates } from './encode-text.js';
import { conditionOn, type EncodedPrompt, type PromptOptions, type StableDiffusion, tokenizerOf } from './stable-diffusion.js';

/**
 * A weighted prompt of any length, as AUTOMATIC1111 encodes it (stable-diffusion-webui modules/sd_hijack_clip.py
 * `forward`, modules/sd_emphasis.py `EmphasisOriginal`, modules/sd_samplers_cfg_denoiser.py `pad_cond`): each chunk of 77
 * tokens goes through the text encoder by itself, its states are multiplied by the weights of the tokens and by what
 * brings their mean back, and the chunks are joined along the tokens. The shorter of prompt and negative is filled up with
 * empty chunks. Pooled states (SDXL) are those of the first chunk.
 *
 * Unlike `encodePrompt`, clip skip is for the negative too, as it is there.
 *
 * @param negative undefined: an empty one
 * @throws {FormatError} `E_USAGE` when a text encoder has no tokenizer, `E_NONFINITE` for states whose mean is no number.
 */
export async function encodeWeighted(
	model: StableDiffusion,
	prompt: readonly PromptSegment[],
	negative: readonly PromptSegment[] | undefined,
	{ count = 1, clipSkip, height, width }: PromptOptions,
): Promise<EncodedPrompt> {
	const { base } = model;
	const own = base.textEncoders.map((_, i) => tokenizerOf(model, i));
	const chunksOf = (segments: readonly PromptSegment[]): TokenChunk[][] => own.map((tokenizer) => chunkTokens(tokenizer, segments));
	const empty = chunksOf([]).map(([chunk]) => chunk);
	const ofPrompt = chunksOf(prompt);
	const ofNegative = chunksOf(negative ?? []);
	const length = Math.max(...[...ofPrompt, ...ofNegative].map((chunks) => chunks.length));
	for (const chunks of [ofPrompt, ofNegative]) {
		for (const [i, list] of chunks.entries()) while (list.length < length) list.push(empty[i] as TokenChunk);
	}
	const text = await encodeChunks(model, ofPrompt, length, clipSkip);
	const zeros = negative === undefined && base.forceZerosForEmptyPrompt;
	const against = zeros ? text.map(zeroStates) : await encodeChunks(model, ofNegative, length, clipSkip);
	return {
		conditioning: conditionOn(base, text, against, { count, height, width }),
		truncated: [],
		ids: ofPrompt.map((chunks, i) => [idsOf(chunks), idsOf(ofNegative[i] ?? chunks)]),
	};
}

/** @param chunks by text encoder, `length` of each @returns by text encoder, (1, 77 length, width) */
async function encodeChunks(
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
function alongTokens(parts: readonly HostTensor[]): HostTensor {
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
