import { type EncodedPrompt, encodePrompts as encodeBatch, type StableDiffusion } from '@lorakit/runtime';
import type { GenerateRequest } from './generate-request.js';
import type { GenerationInputs } from './generation-inputs.js';
import type { JobAdapters, PictureJob } from './picture-jobs.js';
import { encodePrompts, readPrompts } from './prompt-language.js';

/** The prompt of a job, and of its edits, as the UNet gets it. */
export type PromptEncoder = (model: StableDiffusion, job: PictureJob, adapters: JobAdapters) => Promise<EncodedPrompt>;

/** The last prompt is kept: a grid over seeds encodes it once. */
export function promptEncoder({ weighting }: Pick<GenerateRequest, 'weighting'>): PromptEncoder {
	let last: { readonly key: string; readonly adapters: JobAdapters; readonly prompt: EncodedPrompt } | undefined;
	return async (model, { settings, edit }, adapters) => {
		const { clipSkip, width, height, prompt, negative, steps, scheduler } = settings;
		// In A1111's language prompts may change over the steps.
		const key = JSON.stringify([prompt, negative ?? null, clipSkip, width, height, ...(weighting === 'none' ? [] : [steps, scheduler])]);
		if (last !== undefined && last.key === key && last.adapters === adapters) return last.prompt;
		const encoded =
			edit === undefined
				? await encodePrompts(model, readPrompts(weighting, prompt, negative), settings)
				: await encodeBatch(model, [prompt, ...edit.edits.map((e) => e.prompt)], negative, { clipSkip, height, width });
		// The negative is the same for all.
		last = { key, adapters, prompt: { ...encoded, truncated: [...new Set(encoded.truncated)] } };
		return last.prompt;
	};
}

/** What diffusers' way of reading cuts off, without running anything. */
export function truncatedTexts(
	{ tokenizers }: GenerationInputs,
	jobs: readonly PictureJob[],
	{ weighting }: GenerateRequest,
): readonly string[] {
	if (weighting !== 'none') return [];
	const texts = jobs.flatMap(({ settings, edit }) => [
		settings.prompt,
		...(edit?.edits ?? []).map(({ prompt }) => prompt),
		settings.negative ?? '',
	]);
	return [...new Set([...new Set(texts)].flatMap((text) => tokenizers[0]?.encode(text).truncated ?? []))];
}
