import type { PromptSegment } from '../tokenizer/prompt-weights.js';
import { encodeChunks, paddedWith } from './encode-chunks.js';
import { zeroStates } from './encode-text.js';
import { conditionOn, type EncodedPrompt, type PromptOptions, type StableDiffusion } from './stable-diffusion.js';

/**
 * A weighted prompt of any length, as AUTOMATIC1111 encodes it: `encodeChunks`. The shorter of prompt and negative is filled
 * up with empty chunks. Pooled states (SDXL) are those of the first chunk.
 *
 * Unlike `encodePrompt`, clip skip is for the negative too, as it is there.
 *
 * @param negative undefined: an empty one
 * @throws {FormatError} those of `encodeChunks`.
 */
export async function encodeWeighted(
	model: StableDiffusion,
	prompt: readonly PromptSegment[],
	negative: readonly PromptSegment[] | undefined,
	{ count = 1, clipSkip, height, width }: PromptOptions,
): Promise<EncodedPrompt> {
	const { base } = model;
	const own = await encodeChunks(model, prompt, clipSkip);
	const other = await encodeChunks(model, negative ?? [], clipSkip);
	const length = Math.max(own.chunks, other.chunks);
	const empty = own.chunks === other.chunks || negative === undefined ? other : await encodeChunks(model, [], clipSkip);
	const [text, against] = [paddedWith(empty, own, length), paddedWith(empty, other, length)];
	const zeros = negative === undefined && base.forceZerosForEmptyPrompt;
	return {
		conditioning: conditionOn(base, text.texts, zeros ? text.texts.map(zeroStates) : against.texts, { count, height, width }),
		truncated: [],
		ids: text.ids.map((ids, i) => [ids, against.ids[i] ?? ids]),
	};
}
