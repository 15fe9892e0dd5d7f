import fs from 'node:fs';
import path from 'node:path';
import { FormatError, quote } from '@lorakit/format';
import {
	composedPrompts,
	type EncodedPrompt,
	encodeScheduled,
	type PromptLora,
	parseWeightedPrompt,
	promptSchedule,
	type StableDiffusion,
	takeNetworks,
} from '@lorakit/runtime';
import type { GenerateRequest } from './generate-request.js';
import type { PictureSettings } from './picture-settings.js';

/** How prompts are read: as diffusers does, or as AUTOMATIC1111 does. */
export const WEIGHTINGS = ['none', 'a1111'] as const;
export type Weighting = (typeof WEIGHTINGS)[number];

/** A prompt and its negative, read. */
export interface ReadPrompts {
	readonly weighting: Weighting;
	/** As given; under `a1111` without `<networks>`. */
	readonly prompt: string;
	readonly negative: string | undefined;
	/** Texts are weighed against the negative, whatever the guidance: joined by AND, or with a weight of the whole. */
	readonly weighed: boolean;
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
		return { weighting, prompt, negative, weighed: false, loras: [], notes };
	}
	const own = takeNetworks(prompt);
	const against = negative === undefined ? undefined : takeNetworks(negative);
	// What it refuses is refused before anything is loaded.
	const parts = composedPrompts(own.text);
	for (const { text } of parts) checkText(text);
	if (against !== undefined) checkText(against.text);
	const unsupported = [...own.unsupported, ...(against?.unsupported ?? [])];
	const notes = unsupported.length === 0 ? [] : [`Of the prompt, ${unsupported.slice(0, 4).map(quote).join(', ')} has no effect here.`];
	for (const { name } of against?.loras ?? [])
		notes.push(`<lora:${name}> in the negative prompt has no effect; adapters belong into the prompt.`);
	return {
		weighting,
		prompt: own.text,
		negative: against?.text,
		weighed: parts.some(({ weight }) => parts.length > 1 || weight !== 1),
		loras: own.loras,
		notes,
	};
}

/**
 * The prompts of a request, those of every cell of a grid, each once. All ask for the same adapters.
 * @throws {FormatError} those of `readPrompts`; `E_USAGE` for adapters in prompts that differ.
 */
export function promptsOf({ weighting, settings, grid }: Pick<GenerateRequest, 'weighting' | 'settings' | 'grid'>): readonly ReadPrompts[] {
	const said = (name: 'prompt' | 'negative'): readonly (string | undefined)[] =>
		grid?.axes.find((axis) => axis.name === name)?.values.map(({ change }) => change.settings[name]) ?? [settings[name]];
	const prompts = new Set(said('prompt'));
	const negatives = new Set(said('negative'));
	const all = [...prompts].flatMap((prompt) => [...negatives].map((negative) => readPrompts(weighting, prompt ?? '', negative)));
	const asking = all.find(({ loras }) => loras.length > 0);
	if (prompts.size > 1 && asking !== undefined) {
		throw new FormatError(
			'E_USAGE',
			`The prompts of a grid do not ask for adapters, as <lora:${asking.loras[0]?.name}> does; name it by --lora, or by an axis lora=FILE.`,
		);
	}
	return all;
}

/** @throws {FormatError} `E_USAGE` for weights that are no numbers, `E_LIMIT`. */
function checkText(text: string): void {
	for (const { text: own } of promptSchedule(text, 1)) parseWeightedPrompt(own);
	parseWeightedPrompt(text);
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
	const { clipSkip, height, width } = settings;
	const options = { clipSkip, height, width };
	if (read.weighting === 'none') return model.encodePrompt(read.prompt, read.negative, options);
	return encodeScheduled(model, read.prompt, read.negative, { ...options, steps: callsOf(settings) });
}

/** Calls of the model that steps and shares of a prompt count. */
export function callsOf({ scheduler, steps }: Pick<PictureSettings, 'scheduler' | 'steps'>): number {
	return scheduler === 'heun' ? 2 * steps : steps;
}
