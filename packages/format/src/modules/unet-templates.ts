import { type Grammar, grammar } from './grammar.js';
import { diffusersPath, type Place, sgmRows } from './sgm-names.js';
import { RESNET_2D, TRANSFORMER_2D } from './unet-members.js';

/** A module path that was taken apart, and in whose block names it was written. */
export interface UnetName {
	/** diffusers' dotted path. */
	readonly path: string;
	readonly style: 'diffusers' | 'sgm';
}

/** Modules that stand outside the blocks. */
const TOP = [
	'conv_in',
	'conv_out',
	'conv_norm_out',
	'time_embedding.linear_1',
	'time_embedding.linear_2',
	'time_embedding.cond_proj',
	'add_embedding.linear_1',
	'add_embedding.linear_2',
	'class_embedding.linear_1',
	'class_embedding.linear_2',
	'encoder_hid_proj',
];

/** Every module template of diffusers' UNet2DConditionModel (and AnimateDiff's motion modules). */
export function unetTemplates(): string[] {
	const rows = [...TOP];
	for (const block of ['down_blocks.#', 'up_blocks.#', 'mid_block']) {
		for (const leaf of TRANSFORMER_2D) rows.push(`${block}.attentions.#.${leaf}`, `${block}.motion_modules.#.${leaf}`);
		for (const leaf of RESNET_2D) rows.push(`${block}.resnets.#.${leaf}`);
	}
	rows.push('down_blocks.#.downsamplers.#.conv', 'up_blocks.#.upsamplers.#.conv');
	return rows;
}

const UNET: Grammar<Place | undefined> = grammar<Place | undefined>(function* () {
	for (const template of unetTemplates()) yield [template, undefined] as const;
	yield* sgmRows();
});

/**
 * A flattened UNet name (after `lora_unet_`) as a dotted diffusers path, whether its blocks are diffusers' or sgm's
 * (kohya's SDXL). Undefined when no template fits: the caller keeps the flat name and says so.
 */
export function unflattenUnet(flat: string): UnetName | undefined {
	for (const match of UNET.byFlat(flat)) {
		if (match.value === undefined) return { path: match.path, style: 'diffusers' };
		const path = diffusersPath(match.value, match.indices);
		if (path !== undefined) return { path, style: 'sgm' };
	}
	return undefined;
}

/** True for a dotted path that diffusers' UNet can have. */
export function isUnetPath(path: string): boolean {
	return UNET.byDotted(path).some((m) => m.value === undefined);
}
