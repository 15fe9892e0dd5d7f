import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import {
	type EncodedPrompt,
	encodeWeighted,
	type PromptLora,
	type PromptSegment,
	parseWeightedPrompt,
	type StableDiffusion,
} from '@lorakit/runtime';
import type { PictureSettings } from './picture-settings.js';

/** How prompts are read: as diffusers does, or as AUTOMATIC1111 does. */
export const WEIGHTINGS = ['none', 'a1111'] as const;
export type Weighting = (typeof WEIGHTINGS)[number];

/** A prompt and its negative, read. */
export interface ReadPrompts {
	readonly weighting: Weighting;
	/** Under `a1111` only. */
	readonly prompt: readonly PromptSegment[];
	readonly negative: readonly PromptSegment[] | undefined;
	/** Adapters that the prompt asks for. */
	readonly loras: readonly PromptLora[];
	/** What the language can say and nothing here does, for people. */
	readonly notes: readonly string[];
}

const LORA = /<(?:lora|lyco):[^<>]+>/u;

/** @throws {FormatError} `E_USAGE` and `E_LIMIT` of the language. */
export function readPrompts(weighting: Weighting, prompt: string, negative: string | undefined): ReadPrompts {
	if (weighting === 'none') {
		const asked = LORA.exec(prompt)?.[0];
		const notes =
			asked === undefined ? [] : [`${quote(asked)} is read as text here; --weighting a1111 makes an adapter of it, or name it by --lora.`];
		return { weighting, prompt: [], negative: undefined, loras: [], notes };
	}
	const own = parseWeightedPrompt(prompt);
	const against = negative === undefined ? undefined : parseWeightedPrompt(negative);
	const unsupported = [...own.unsupported, ...(against?.unsupported ?? [])];
	const notes = unsupported.length === 0 ? [] : [`Of the prompt, ${unsupported.slice(0, 4).map(quote).join(', ')} has no effect here.`];
	for (const { name } of against?.loras ?? [])
		notes.push(`<lora:${name}> in the negative prompt has no effect; adapters belong into the prompt.`);
	return { weighting, prompt: own.segments, negative: against?.segments, loras: own.loras, notes };
}

/**
 * `<lora:name:te:unet>` as a spec of `--lora`. The file is `name` or `name.safetensors`, in `folder` or below it.
 * @throws {FormatError} `E_USAGE` when there is none, naming where it was looked for.
 */
export function specOfPromptLora({ name, textEncoder, unet }: PromptLora, folder: string): string {
	const candidates = [name, `${name}.safetensors`, `${name}.pt`, `${name}.ckpt`].map((file) => path.join(folder, file));
	const found = candidates.find((file) => fs.statSync(file, { throwIfNoEntry: false })?.isFile() === true);
	if (found === undefined) {
		throw new FormatError(
			'E_USAGE',
			`The prompt asks for <lora:${name}>, but ${quote(path.join(folder, `${name}.safetensors`))} is not there; name the folder of your adapters with --lora-dir DIR.`,
		);
	}
	return unet === textEncoder ? `${found}@${unet}` : `${found}@1:unet=${unet},te=${textEncoder}`;
}

/** The prompt as the UNet gets it. */
export async function encodePrompts(model: StableDiffusion, read: ReadPrompts, settings: PictureSettings): Promise<EncodedPrompt> {
	const { prompt, negative, clipSkip, height, width } = settings;
	const options = { clipSkip, height, width };
	if (read.weighting === 'none') return model.encodePrompt(prompt, negative, options);
	return encodeWeighted(model, read.prompt, read.negative, options);
}
