import type { Code } from './diagnoses.js';

/** How good the ground is that a diagnosis stands on. */
export type EvidenceLevel =
	/** A formula reproduces every wrong number within the precision. */
	| 'weights'
	/** The same on scaling factors alone. */
	| 'scaling'
	/** Gain and cosine of outputs: the kind of fault, not its formula. */
	| 'outputs'
	/** Names, counts, verdicts. */
	| 'names'
	/** Latents or pictures: that it is wrong, not why. */
	| 'image';

/** What is wrong, as far as the evidence goes. */
export interface Diagnosis {
	readonly code: Code;
	/** One sentence. */
	readonly sentence: string;
	/** Up to 8 modules that show it. */
	readonly modules: readonly string[];
	readonly gain: number | null;
	readonly cosine: number | null;
	readonly evidenceLevel: EvidenceLevel;
	/** Codes that this evidence cannot part from `code`. */
	readonly runnersUp: readonly Code[];
	/** The part of the model that a fault is about: a block, a factor. */
	readonly detail?: string | undefined;
}
