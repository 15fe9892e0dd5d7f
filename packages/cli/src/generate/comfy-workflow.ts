import path from 'node:path';
import { stem } from './a1111-parameters.js';
import { type PictureRecord, shownPrompt } from './picture-record.js';
import { SAMPLER_NAMES } from './sampler-names.js';

/** One node of ComfyUI's API format; a link is [node, output]. */
interface Node {
	readonly class_type: string;
	readonly inputs: Readonly<Record<string, unknown>>;
}

/**
 * The picture as a workflow in ComfyUI's API format, for the text `prompt`: what a user of it would have built of its own
 * nodes. It is a description for people and tools; ComfyUI draws other noise, so the picture is another.
 */
export function comfyWorkflow(record: PictureRecord): string {
	const { base, adapters, settings, init } = record;
	const nodes = new Map<string, Node>();
	const add = (class_type: string, inputs: Readonly<Record<string, unknown>>): string => {
		const id = String(nodes.size + 1);
		nodes.set(id, { class_type, inputs });
		return id;
	};
	const loader = add('CheckpointLoaderSimple', { ckpt_name: `${stem(base.path)}.safetensors` });
	let [model, clip] = [
		[loader, 0],
		[loader, 1],
	];
	for (const { path: file, scale, components } of adapters) {
		const lora = add('LoraLoader', {
			lora_name: `${stem(file)}.safetensors`,
			strength_model: scale * (components['unet'] ?? 1),
			strength_clip: scale * (components['text_encoder'] ?? 1),
			model,
			clip,
		});
		model = [lora, 0];
		clip = [lora, 1];
	}
	if (settings.clipSkip > 0) clip = [add('CLIPSetLastLayer', { stop_at_clip_layer: -1 - settings.clipSkip, clip }), 0];
	const positive = add('CLIPTextEncode', { text: shownPrompt(record), clip });
	const negative = add('CLIPTextEncode', { text: settings.negative ?? '', clip });
	const latent =
		init === null
			? add('EmptyLatentImage', { width: settings.width, height: settings.height, batch_size: 1 })
			: add('VAEEncode', { pixels: [startNode(init, settings, add), 0], vae: [loader, 2] });
	const sampled = add('KSampler', {
		seed: SEED,
		steps: settings.steps,
		cfg: settings.guidance,
		sampler_name: SAMPLER_NAMES[settings.scheduler].comfy,
		scheduler: settings.schedulerOptions['use_karras_sigmas'] === true ? 'karras' : 'normal',
		denoise: settings.strength ?? 1,
		model,
		positive: [positive, 0],
		negative: [negative, 0],
		latent_image: [latent, 0],
	});
	const decoded = add('VAEDecode', { samples: [sampled, 0], vae: [loader, 2] });
	add('SaveImage', { filename_prefix: 'lora', images: [decoded, 0] });
	// JSON numbers may be larger than JavaScript's.
	const seed = BigInt.asUintN(64, BigInt(settings.seed));
	return JSON.stringify(Object.fromEntries(nodes)).replace(`"seed":"${SEED}"`, `"seed":${seed}`);
}

/** The picture that a run starts from, scaled as here where its own size is another. Returns the node that gives it. */
function startNode(
	{ path: file, width, height }: NonNullable<PictureRecord['init']>,
	settings: PictureRecord['settings'],
	add: (class_type: string, inputs: Readonly<Record<string, unknown>>) => string,
): string {
	const image = add('LoadImage', { image: path.basename(file) });
	if (width === undefined || height === undefined || (width === settings.width && height === settings.height)) return image;
	const size = { width: settings.width, height: settings.height };
	return add('ImageScale', { image: [image, 0], upscale_method: 'lanczos', ...size, crop: 'disabled' });
}

const SEED = '@seed';
