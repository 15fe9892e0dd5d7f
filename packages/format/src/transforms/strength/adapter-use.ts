import type { Adapter, TargetModule } from '../../adapter.js';
import type { BlockWeights } from './block-weights.js';

/** How strongly an adapter is used. All numbers multiply; all default to 1. */
export interface Strength {
	/** For everything: the number behind `@`. */
	readonly scale: number;
	/** By component (`unet`, `text_encoder`, ...); a component that is not named has 1. */
	readonly components: ReadonlyMap<string, number>;
	/** By block of the UNet (`--lbw`); undefined for none. */
	readonly blocks: BlockWeights | undefined;
}

/** One adapter and its strength: what fuse, merge and scale work on. */
export interface AdapterUse {
	readonly adapter: Adapter;
	/** What to call it in messages and recipes. */
	readonly name: string;
	readonly strength: Strength;
}

/** Strength 1. */
export const FULL_STRENGTH: Strength = { scale: 1, components: new Map(), blocks: undefined };

/** The number that a module's delta is multiplied with, beside its own scaling. */
export function strengthOf(strength: Strength, module: TargetModule): number {
	const component = strength.components.get(module.component) ?? 1;
	const block = strength.blocks?.weightOf(module) ?? 1;
	return strength.scale * component * block;
}
