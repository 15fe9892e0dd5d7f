import type { TargetModule } from '../adapter.js';

/** Weights by block of a UNet ("LBW"). Made by `parseBlockWeights`. */
export interface BlockWeights {
	/** As the user wrote it, for the recipe. */
	readonly text: string;
	/** 1 for modules that no block of the scheme holds (documented there). */
	weightOf(module: TargetModule): number;
}
