import path from 'node:path';
import { type PictureRecord, shownPrompt } from './picture-record.js';
import { SAMPLER_NAMES } from './sampler-names.js';

/**
 * The text that A1111 writes under `parameters`, so that it, Civitai and others can read it
 * (AUTOMATIC1111/stable-diffusion-webui modules/processing.py `create_infotext`). Adapters stand in the prompt as
 * `<lora:name:te:unet>`; brackets of a prompt that was read without weights are escaped.
 */
export function a1111Parameters(record: PictureRecord, hash: string | undefined): string {
	const { settings, base, adapters } = record;
	const literal = (prompt: string): string => (settings.weighting === 'a1111' ? prompt : prompt.replaceAll(/[\\()[\]]/g, '\\$&'));
	// Those that the prompt itself asked for stand in it already.
	const tags = adapters.filter(({ origin }) => origin !== 'prompt').map(tagOf);
	const prompt = shownPrompt(record);
	const names = SAMPLER_NAMES[settings.scheduler];
	const fields: (readonly [string, string | number | undefined])[] = [
		['Steps', settings.steps],
		['Sampler', names.a1111],
		['Schedule type', settings.schedulerOptions['use_karras_sigmas'] === true ? 'Karras' : undefined],
		['CFG scale', settings.guidance],
		['Seed', settings.seed],
		['Size', `${settings.width}x${settings.height}`],
		['Model hash', hash],
		['Model', stem(base.path).replaceAll(/[,:]/g, '')],
		['Denoising strength', settings.strength ?? undefined],
		// A1111 counts the last layer as 1.
		['Clip skip', settings.clipSkip === 0 ? undefined : settings.clipSkip + 1],
		['Eta', settings.eta === 0 ? undefined : settings.eta],
		['CFG rescale', settings.guidanceRescale === 0 ? undefined : settings.guidanceRescale],
		['DoRA strength', settings.doraStrength === 'interpolate' ? undefined : settings.doraStrength],
		['Edited from', prompt === settings.prompt ? undefined : settings.prompt],
		['Lora hashes', hashList(adapters.map((a) => [stem(a.path), a.hash]))],
		['Version', `lorakit ${record.version}`],
	];
	const said = fields.flatMap(([key, value]) => (value === undefined ? [] : [`${key}: ${quoted(String(value))}`]));
	const negative = settings.negative === null || settings.negative === '' ? [] : [`Negative prompt: ${literal(settings.negative)}`];
	return [[literal(prompt), ...tags].join(' '), ...negative, said.join(', ')].join('\n');
}

function tagOf({ path: file, scale, components }: PictureRecord['adapters'][number]): string {
	const unet = scale * (components['unet'] ?? 1);
	const te = scale * (components['text_encoder'] ?? 1);
	return unet === te ? `<lora:${stem(file)}:${unet}>` : `<lora:${stem(file)}:${te}:${unet}>`;
}

function hashList(entries: readonly (readonly [string, string | null])[]): string | undefined {
	const known = entries.flatMap(([name, hash]) => (hash === null ? [] : [`${name.replaceAll(/[:,]/g, '')}: ${hash}`]));
	return known.length === 0 ? undefined : known.join(', ');
}

/** Values with a comma, a colon or a line feed are JSON strings there. */
function quoted(value: string): string {
	return /[,:\n]/.test(value) ? JSON.stringify(value) : value;
}

/** File name without folder and extension. */
export function stem(file: string): string {
	const base = path.basename(file.replace(/[/\\]+$/, ''));
	return base.replace(/\.(safetensors|ckpt|pt|pth|bin)$/i, '') || base;
}
