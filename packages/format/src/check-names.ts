import type { Naming } from './adapter.js';
import { diffusersToSgm, flattenPath, type SgmOptions } from './modules/index.js';

/** Readers that `checkTarget` knows. */
export type CheckTarget = 'comfyui' | 'a1111' | 'diffusers' | 'peft' | 'kohya';

/** One module, and what of its adapter decides its names. */
export interface NameQuery {
	readonly component: string;
	readonly path: string;
	readonly naming: Naming;
	/** `BaseGuess.family`. */
	readonly base: string;
	readonly layout: string;
}

/**
 * Names (without the leaf) under which a reader finds a module, the one that `lora convert` writes first.
 * Empty: the reader has no name for it.
 *
 * Sources: comfyanonymous/ComfyUI comfy/lora.py `model_lora_keys_unet`, `model_lora_keys_clip`;
 * AUTOMATIC1111/stable-diffusion-webui extensions-builtin/Lora/networks.py `load_network`;
 * huggingface/diffusers@58eb52c loaders/lora_pipeline.py `lora_state_dict`, utils/state_dict_utils.py;
 * huggingface/peft@5d602fd utils/save_and_load.py; kohya-ss/sd-scripts@48d368f networks/lora.py. LAYOUTS §2.16, §2.20.
 */
export function acceptedNames(target: CheckTarget, query: NameQuery): readonly string[] {
	if (target === 'peft') return [`base_model.model.${query.path}`];
	if (query.component.startsWith('text_encoder')) return textNames(target, query);
	if (query.component === 'unet') return unetNames(target, query);
	return transformerNames(target, query);
}

/** Which up blocks have attentions: decides the place of an upsampler in sgm names. SDXL has them in the first two blocks. */
function sgmOptions(base: string): SgmOptions {
	const sdxl = base.startsWith('sdxl');
	return { hasAttentionInUpBlock: (i) => (sdxl ? i < 2 : i > 0) };
}

function unetNames(target: CheckTarget, { path, base }: NameQuery): readonly string[] {
	const flat = flattenPath(path);
	const sgm = diffusersToSgm(path, sgmOptions(base));
	const sgmFirst = base.startsWith('sdxl');
	const own = [`lora_unet_${flat}`];
	const other = sgm === undefined ? [] : [`lora_unet_${flattenPath(sgm)}`];
	const kohya = sgmFirst ? [...other, ...own] : [...own, ...other];
	switch (target) {
		case 'kohya':
			// The trainer's UNet has diffusers' names for SD1 and SD2; SDXL files are turned to sgm's before loading.
			return sgmFirst ? kohya : own;
		case 'a1111':
			return kohya;
		case 'diffusers':
			return [...dottedUnet('unet.', path, true), ...kohya];
		default:
			return [...kohya, `lycoris_${flat}`, ...(sgm === undefined ? [] : [`diffusion_model.${sgm}`]), ...comfyUnet(path)];
	}
}

/** ComfyUI: `.to_` is only known as `.processor.to_`, and `to_out.0` only without its `.0`. */
function comfyUnet(path: string): readonly string[] {
	const name = processorPath(path);
	return [`unet.${name}`, name];
}

function processorPath(path: string): string {
	const name = path.replaceAll('.to_', '.processor.to_');
	return name.endsWith('.to_out.0') ? name.slice(0, -2) : name;
}

function dottedUnet(prefix: string, path: string, processor: boolean): readonly string[] {
	const plain = `${prefix}${path}`;
	return processor && path.includes('.to_') ? [plain, `${prefix}${processorPath(path)}`] : [plain];
}

/** kohya's number of a text encoder: `lora_te1`; Flux's T5 is the second encoder of the pipeline, te3 to sd-scripts and te2 to others. */
function textPrefixes(target: CheckTarget, component: string, base: string, isT5: boolean): readonly string[] {
	const numbered = base.startsWith('sdxl') || base === 'sd3' || base.startsWith('flux') || base === 'chroma';
	switch (component) {
		case 'text_encoder':
			if (numbered) return target === 'kohya' ? ['lora_te1_'] : ['lora_te1_', 'lora_te_'];
			// sd-scripts knows one text encoder of SD1 and SD2 as lora_te alone; a base that is not known may be either.
			return target === 'kohya' && base !== 'unknown' ? ['lora_te_'] : ['lora_te_', 'lora_te1_'];
		case 'text_encoder_2':
			if (isT5) return target === 'kohya' ? ['lora_te3_'] : ['lora_te3_', 'lora_te2_'];
			return ['lora_te2_'];
		default:
			return ['lora_te3_'];
	}
}

function textNames(target: CheckTarget, { component, path, base }: NameQuery): readonly string[] {
	const isT5 = path.startsWith('encoder.block');
	const flat = flattenPath(path);
	const kohya = textPrefixes(target, component, base, isT5).map((prefix) => `${prefix}${flat}`);
	switch (target) {
		case 'kohya':
		case 'a1111':
			return target === 'a1111' && isT5 ? [] : kohya;
		case 'diffusers':
			return [...oldText(component, path), ...(isT5 ? [] : kohya)];
		default:
			if (path === 'text_projection') return component === 'text_encoder_2' ? ['lora_te2_text_projection'] : [];
			return [...kohya, `${component}.${path}`];
	}
}

/** diffusers also reads `self_attn.to_q` with `_lora` leaves and 0.17's `q_proj.to_q`. */
function oldText(component: string, path: string): readonly string[] {
	const plain = `${component}.${path}`;
	const match = /^(.*self_attn\.)(q|k|v|out)_proj$/.exec(plain);
	if (match === null) return [plain];
	return [plain, `${match[1]}to_${match[2]}`, `${plain}.to_${match[2]}`];
}

/** Bases whose ComfyUI model also answers to names without a prefix. */
const BARE: ReadonlySet<string> = new Set(['qwen-image', 'hidream', 'mochi', 'ace-step', 'omnigen2']);
/** Bases whose own module names are diffusers' names. */
const SAME_NAMES: ReadonlySet<string> = new Set(['qwen-image']);

function transformerNames(target: CheckTarget, query: NameQuery): readonly string[] {
	const { component, path, naming, base, layout } = query;
	const flat = flattenPath(path);
	const own = naming !== 'diffusers' || SAME_NAMES.has(base);
	switch (target) {
		case 'kohya':
			return own ? [`lora_unet_${flat}`] : [];
		case 'a1111':
			return [];
		case 'diffusers': {
			const names = naming === 'diffusers' || SAME_NAMES.has(base) ? [`${component}.${path}`] : [];
			// Converters for the models' own names: kohya's, ComfyUI's, BFL's.
			if (own) names.push(`lora_unet_${flat}`, `diffusion_model.${path}`, `base_model.model.${path}`);
			if (layout === 'xlabs-flux' || layout === 'bfl-control') names.push(path);
			return names;
		}
		default: {
			const names: string[] = [];
			if (own) names.push(`lora_unet_${flat}`, `diffusion_model.${path}`);
			if (naming === 'diffusers') names.push(`transformer.${path}`, `lycoris_${flat}`, `lora_transformer_${flat}`);
			if (naming === 'diffusers' && base === 'sd3') names.push(`base_model.model.${path}`);
			if (BARE.has(base) || layout === 'bfl-control') names.push(path);
			return names;
		}
	}
}

/** Beginnings of names that a reader may know although our tables cannot take them apart. */
export function knownPrefixes(target: CheckTarget): readonly string[] {
	switch (target) {
		case 'comfyui':
			return [
				'lora_unet_',
				'lora_te_',
				'lora_te1_',
				'lora_te2_',
				'lora_te3_',
				'lora_prior_',
				'lycoris_',
				'lora_transformer_',
				'diffusion_model.',
				'transformer.',
				'text_encoder',
			];
		case 'a1111':
			return ['lora_unet_', 'lora_te_', 'lora_te1_', 'lora_te2_'];
		case 'diffusers':
			return ['unet.', 'transformer.', 'text_encoder', 'lora_unet_', 'lora_te_', 'lora_te1_', 'lora_te2_', 'diffusion_model.'];
		case 'kohya':
			return ['lora_unet_', 'lora_te_', 'lora_te1_', 'lora_te2_', 'lora_te3_'];
		default:
			return ['base_model.model.'];
	}
}
