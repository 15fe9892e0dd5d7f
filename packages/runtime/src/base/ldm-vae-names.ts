/** LDM's names of an attention's parts, and diffusers'. */
const ATTENTION: ReadonlyMap<string, string> = new Map([
	['norm', 'group_norm'],
	['q', 'to_q'],
	['k', 'to_k'],
	['v', 'to_v'],
	['proj_out', 'to_out.0'],
	// The names diffusers had before 0.12; the folders of SD 1.x still hold them.
	['query', 'to_q'],
	['key', 'to_k'],
	['value', 'to_v'],
	['proj_attn', 'to_out.0'],
]);

const RESNET = '(norm1|conv1|norm2|conv2|nin_shortcut)';
const DOWN_RESNET = new RegExp(`^encoder\\.down\\.(\\d{1,3})\\.block\\.(\\d{1,3})\\.${RESNET}$`);
const UP_RESNET = new RegExp(`^decoder\\.up\\.(\\d{1,3})\\.block\\.(\\d{1,3})\\.${RESNET}$`);
const MID_RESNET = new RegExp(`^(encoder|decoder)\\.mid\\.block_([12])\\.${RESNET}$`);
const MID_ATTENTION = /^(encoder|decoder)\.mid\.attn_1\.(norm|q|k|v|proj_out)$/;
const DOWNSAMPLE = /^encoder\.down\.(\d{1,3})\.downsample\.conv$/;
const UPSAMPLE = /^decoder\.up\.(\d{1,3})\.upsample\.conv$/;
const SAME = /^(quant_conv|post_quant_conv|(encoder|decoder)\.(conv_in|conv_out))$/;
const UP_INDEX = /^decoder\.up\.(\d{1,3})\./;
const OLD_ATTENTION = /^((?:encoder|decoder)\.mid_block\.attentions\.0)\.(query|key|value|proj_attn)$/;

/** How many decoder blocks LDM names (without `first_stage_model.`) speak of. */
export function countUpBlocks(names: Iterable<string>): number {
	let count = 0;
	for (const name of names) {
		const match = UP_INDEX.exec(name);
		if (match !== null) count = Math.max(count, Number(match[1]) + 1);
	}
	return count;
}

/**
 * diffusers' path of a module of LDM's VAE (both without `.weight`), or undefined for a name that it has not.
 * Decoder blocks are numbered in reverse. Source: diffusers loaders/single_file_utils.py `convert_ldm_vae_checkpoint`.
 *
 * @param path below `first_stage_model.`
 * @param upBlocks decoder blocks of the whole model
 */
export function ldmVaePath(path: string, upBlocks: number): string | undefined {
	if (SAME.test(path)) return path;
	if (path === 'encoder.norm_out') return 'encoder.conv_norm_out';
	if (path === 'decoder.norm_out') return 'decoder.conv_norm_out';
	const down = DOWN_RESNET.exec(path);
	if (down !== null) return `encoder.down_blocks.${Number(down[1])}.resnets.${Number(down[2])}.${resnetLeaf(down[3])}`;
	const up = UP_RESNET.exec(path);
	if (up !== null) return `decoder.up_blocks.${upBlocks - 1 - Number(up[1])}.resnets.${Number(up[2])}.${resnetLeaf(up[3])}`;
	const mid = MID_RESNET.exec(path);
	if (mid !== null) return `${mid[1]}.mid_block.resnets.${Number(mid[2]) - 1}.${resnetLeaf(mid[3])}`;
	const attention = MID_ATTENTION.exec(path);
	if (attention !== null) return `${attention[1]}.mid_block.attentions.0.${ATTENTION.get(attention[2] ?? '')}`;
	const downsample = DOWNSAMPLE.exec(path);
	if (downsample !== null) return `encoder.down_blocks.${Number(downsample[1])}.downsamplers.0.conv`;
	const upsample = UPSAMPLE.exec(path);
	if (upsample !== null) return `decoder.up_blocks.${upBlocks - 1 - Number(upsample[1])}.upsamplers.0.conv`;
	return undefined;
}

/**
 * The present name of a VAE module in a diffusers folder: attention parts had other names before 0.12.
 * Source: diffusers models/modeling_utils.py `_fix_state_dict_keys_on_load`, deprecated attention blocks.
 */
export function presentVaePath(path: string): string {
	const match = OLD_ATTENTION.exec(path);
	return match === null ? path : `${match[1]}.${ATTENTION.get(match[2] ?? '')}`;
}

/** LDM's attention weights are 1x1 convolutions, (c, c, 1, 1) or (c, c, 1); diffusers' are linear. */
export function linearShape(path: string, shape: readonly number[]): readonly number[] {
	if (!/\.attentions\.0\.to_(q|k|v|out\.0)$/.test(path) || shape.length <= 2) return shape;
	return shape.slice(2).every((d) => d === 1) ? shape.slice(0, 2) : shape;
}

function resnetLeaf(leaf: string | undefined): string {
	return leaf === 'nin_shortcut' ? 'conv_shortcut' : (leaf ?? '');
}
