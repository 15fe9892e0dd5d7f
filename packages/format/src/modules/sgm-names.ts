import { fillTemplate, type Grammar, grammar } from './grammar.js';
import { RESNET_2D, TRANSFORMER_2D } from './unet-members.js';

/**
 * diffusers' UNet names <-> LDM/sgm names (`input_blocks.4.1...`), as the checkpoints and kohya's SDXL files have
 * them. Formulas: LAYOUTS.md §3; checked there against real models of SD1, SD2 and SDXL.
 */
export interface SgmOptions {
	/** Whether up block `i` has attentions: its upsampler is then the third member of the sgm block, else the second. */
	hasAttentionInUpBlock(i: number): boolean;
	/** Resnets per down block; 2 in every published model. */
	readonly layersPerBlock?: number | undefined;
}

/** LDM's name of each ResnetBlock2D member, in the order of `RESNET_2D`. */
const SGM_RESNET: readonly string[] = ['in_layers.0', 'in_layers.2', 'emb_layers.1', 'out_layers.0', 'out_layers.3', 'skip_connection'];

const TOP: readonly (readonly [diffusers: string, sgm: string])[] = [
	['conv_in', 'input_blocks.0.0'],
	['time_embedding.linear_1', 'time_embed.0'],
	['time_embedding.linear_2', 'time_embed.2'],
	['add_embedding.linear_1', 'label_emb.0.0'],
	['add_embedding.linear_2', 'label_emb.0.2'],
	['conv_norm_out', 'out.0'],
	['conv_out', 'out.2'],
];

export type Kind = 'attentions' | 'resnets' | 'downsampler' | 'upsampler';
/** What a template stands for: a fixed name, or a member of a block with its name below that member. */
export type Place = { readonly fixed: string } | { readonly side: 'in' | 'mid' | 'out'; readonly kind: Kind; readonly leaf: string };

/** Every sgm module template that has a diffusers name, and where it is in diffusers' blocks. */
export function* sgmRows(): Generator<readonly [template: string, place: Place]> {
	for (const [fixed, sgm] of TOP) yield [sgm, { fixed }];
	for (const leaf of TRANSFORMER_2D) {
		yield [`input_blocks.#.1.${leaf}`, { side: 'in', kind: 'attentions', leaf }];
		yield [`output_blocks.#.1.${leaf}`, { side: 'out', kind: 'attentions', leaf }];
		yield [`middle_block.1.${leaf}`, { side: 'mid', kind: 'attentions', leaf }];
	}
	for (const [n, leaf] of RESNET_2D.entries()) {
		const sgm = SGM_RESNET[n] ?? leaf;
		yield [`input_blocks.#.0.${sgm}`, { side: 'in', kind: 'resnets', leaf }];
		yield [`output_blocks.#.0.${sgm}`, { side: 'out', kind: 'resnets', leaf }];
		yield [`middle_block.0.${sgm}`, { fixed: `mid_block.resnets.0.${leaf}` }];
		yield [`middle_block.2.${sgm}`, { fixed: `mid_block.resnets.1.${leaf}` }];
	}
	yield ['input_blocks.#.0.op', { side: 'in', kind: 'downsampler', leaf: 'conv' }];
	// The second or the third member; only the leaf `conv` tells it from an attention.
	yield ['output_blocks.#.1.conv', { side: 'out', kind: 'upsampler', leaf: 'conv' }];
	yield ['output_blocks.#.2.conv', { side: 'out', kind: 'upsampler', leaf: 'conv' }];
}

function* diffusersRows(): Generator<readonly [string, Place]> {
	for (const [name, sgm] of TOP) yield [name, { fixed: sgm }];
	for (const leaf of TRANSFORMER_2D) {
		yield [`down_blocks.#.attentions.#.${leaf}`, { side: 'in', kind: 'attentions', leaf }];
		yield [`up_blocks.#.attentions.#.${leaf}`, { side: 'out', kind: 'attentions', leaf }];
		yield [`mid_block.attentions.0.${leaf}`, { side: 'mid', kind: 'attentions', leaf }];
	}
	for (const [n, name] of RESNET_2D.entries()) {
		const leaf = SGM_RESNET[n] ?? name;
		yield [`down_blocks.#.resnets.#.${name}`, { side: 'in', kind: 'resnets', leaf }];
		yield [`up_blocks.#.resnets.#.${name}`, { side: 'out', kind: 'resnets', leaf }];
		yield [`mid_block.resnets.0.${name}`, { fixed: `middle_block.0.${leaf}` }];
		yield [`mid_block.resnets.1.${name}`, { fixed: `middle_block.2.${leaf}` }];
	}
	yield ['down_blocks.#.downsamplers.0.conv', { side: 'in', kind: 'downsampler', leaf: 'op' }];
	yield ['up_blocks.#.upsamplers.0.conv', { side: 'out', kind: 'upsampler', leaf: 'conv' }];
}

const SGM: Grammar<Place> = grammar(sgmRows);
const DIFFUSERS: Grammar<Place> = grammar(diffusersRows);

/**
 * `input_blocks.4.1.proj_in` -> `down_blocks.1.attentions.0.proj_in`. Undefined for a name that no UNet of this
 * kind has. `layersPerBlock`: resnets per down block, 2 in every published model.
 */
export function sgmToDiffusers(dotted: string, layersPerBlock = 2): string | undefined {
	for (const { indices, value } of SGM.byDotted(dotted)) {
		const path = diffusersPath(value, indices, layersPerBlock);
		if (path !== undefined) return path;
	}
	return undefined;
}

/** The diffusers path of an sgm place with the indices of its template; undefined where the block has no such member. */
export function diffusersPath(place: Place, indices: readonly number[], layersPerBlock = 2): string | undefined {
	if ('fixed' in place) return place.fixed;
	const { side, kind } = place;
	if (side === 'mid') return `mid_block.attentions.0.${fillTemplate(place.leaf, indices)}`;
	const per = layersPerBlock + 1;
	// Inputs are counted from conv_in, which is block 0.
	const n = (indices[0] ?? 0) - (side === 'in' ? 1 : 0);
	if (n < 0) return undefined;
	const i = Math.floor(n / per);
	const j = n % per;
	if (kind === 'downsampler') return j === layersPerBlock ? `down_blocks.${i}.downsamplers.0.conv` : undefined;
	if (kind === 'upsampler') return j === layersPerBlock ? `up_blocks.${i}.upsamplers.0.conv` : undefined;
	if (side === 'in' && j === layersPerBlock) return undefined;
	return `${side === 'in' ? 'down' : 'up'}_blocks.${i}.${kind}.${j}.${fillTemplate(place.leaf, indices.slice(1))}`;
}

/** The inverse of `sgmToDiffusers`. Undefined for a path that LDM's UNet has no name for. */
export function diffusersToSgm(dotted: string, options: SgmOptions): string | undefined {
	const layers = options.layersPerBlock ?? 2;
	for (const { indices, value } of DIFFUSERS.byDotted(dotted)) {
		if ('fixed' in value) return value.fixed;
		if (value.side === 'mid') return `middle_block.1.${fillTemplate(value.leaf, indices)}`;
		const [i = 0, j = 0, ...inner] = indices;
		const start = i * (layers + 1);
		if (value.kind === 'downsampler') return `input_blocks.${start + layers + 1}.0.op`;
		if (value.kind === 'upsampler') return `output_blocks.${start + layers}.${options.hasAttentionInUpBlock(i) ? 2 : 1}.conv`;
		const member = value.kind === 'attentions' ? 1 : 0;
		const leaf = fillTemplate(value.leaf, inner);
		if (value.side === 'in') {
			if (j < layers) return `input_blocks.${start + j + 1}.${member}.${leaf}`;
		} else if (j <= layers) return `output_blocks.${start + j}.${member}.${leaf}`;
	}
	return undefined;
}
