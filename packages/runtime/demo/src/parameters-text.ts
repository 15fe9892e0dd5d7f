import type { Rendered, RenderSettings } from './messages.js';

/** How a picture was made, in the form that A1111 writes under `parameters`; the sampler has lorakit's name. */
export function parametersText(settings: RenderSettings, { base, adapter }: Rendered): string {
	const { prompt, negative, steps, scheduler, guidance, seed, width, height, scale } = settings;
	const tag = adapter === undefined ? '' : ` <lora:${adapter}:${scale}>`;
	const fields = [
		`Steps: ${steps}`,
		`Sampler: ${scheduler}`,
		`CFG scale: ${guidance}`,
		`Seed: ${seed}`,
		`Size: ${width}x${height}`,
		`Model: ${base.replaceAll(/[,:]/g, '')}`,
	];
	return [prompt + tag, ...(negative === '' ? [] : [`Negative prompt: ${negative}`]), fields.join(', ')].join('\n');
}
