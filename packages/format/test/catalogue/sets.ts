import { clip, type Mod, t5, unet } from './inventories.js';

/** The UNet bases. */
export type Base = 'sd1' | 'sd2' | 'sdxl';
export const BASES: readonly Base[] = ['sd1', 'sd2', 'sdxl'];

/** CLIP-L, OpenCLIP-H's 23 used layers, OpenCLIP-G, T5-XXL. */
export const TE1: readonly Mod[] = clip(12, 768);
export const TE_SD2: readonly Mod[] = clip(23, 1024);
export const TE2: readonly Mod[] = clip(32, 1280);
export const T5: readonly Mod[] = t5(24, 4096, 10240);

export function inGroups(mods: readonly Mod[], ...groups: readonly Mod['group'][]): Mod[] {
	return mods.filter((m) => groups.includes(m.group));
}

/** kohya's default set: everything under Transformer2DModel. */
export function transformer(base: Base): Mod[] {
	return inGroups(unet(base), 'attn', 'geglu', 'ff2', 'proj');
}

/** A module that every UNet has. */
export const Q = 'down_blocks.1.attentions.0.transformer_blocks.0.attn1.to_q';
